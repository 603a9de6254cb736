// Runs what the Dockerfile runs: the command as PID's own process, its health check, and SIGTERM.
import { freePort, startFixture } from '@muster/testkit'
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const dockerfile = readFileSync(new URL('Dockerfile', import.meta.url), 'utf8')
const [health, command] = [...dockerfile.matchAll(/CMD (\[.*\])$/gm)].map(([, json]) =>
  JSON.parse(json)
)
assert.deepEqual(command, ['node', 'server.js'])

const port = await freePort()
const ask = () => {
  const [, ...args] = health.map((part) => part.replace('3000', port))
  return spawnSync(process.execPath, args).status
}
assert.equal(ask(), 1, 'healthy before it is there')
const server = startFixture(new URL('server.js', import.meta.url), { env: { PORT: String(port) } })
await server.waitFor(/ready in/)
assert.equal(ask(), 0, 'not healthy although it is ready')
server.signal('SIGTERM')
assert.deepEqual(await server.exited, { code: 0, signal: null })
console.log('started, healthy, ended by SIGTERM with code 0')
