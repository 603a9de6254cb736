// Starts the service under a real s6-supervise: up at once, ready later, down with a clean exit.
import { eventually, freePort } from '@muster/testkit'
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const directory = fileURLToPath(new URL('service', import.meta.url))
const env = { ...process.env, PORT: `${await freePort()}` }
const supervisor = spawn('s6-supervise', [directory], { env, stdio: ['ignore', 'pipe', 'inherit'] })
let output = ''
supervisor.stdout.on('data', (data) => (output += data))
const waitFor = (what, ms) => {
  const { status } = spawnSync('s6-svwait', [what, '-t', `${ms}`, directory], { stdio: 'ignore' })
  return status === 0
}

try {
  await eventually(() => assert.match(output, /Server listening/))
  assert.ok(waitFor('-u', 5_000), 'it is not up')
  const early = waitFor('-U', 300)
  assert.ok(!early, 'it is ready before it is')
  assert.ok(waitFor('-U', 10_000), 'it is not ready')
} finally {
  // Takes the service down and ends.
  supervisor.kill()
  await once(supervisor, 'close')
}
assert.match(output, /ready in \d+ ms: .*hold prices/)
assert.match(output, /shut down by SIGTERM/)
console.log('up, then ready, then down')
