// Starts, reloads and stops the service under a PM2 of its own.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const bin = join(createRequire(import.meta.url).resolve('pm2/package.json'), '../bin/pm2')
const home = mkdtempSync(join(tmpdir(), 'muster-pm2-'))
// Out of the range from which the system gives ports to clients.
const port = 20_000 + Math.floor(Math.random() * 10_000)
const env = { ...process.env, PM2_HOME: home, PM2_DISABLE_VERSION_CHECK: 'true', PORT: `${port}` }
const cwd = fileURLToPath(new URL('.', import.meta.url))
const pm2 = (...args) => execFileSync(process.execPath, [bin, ...args], { cwd, env, stdio: 'pipe' })
const ask = async () => (await fetch(`http://localhost:${port}/`)).status

try {
  pm2('start', 'ecosystem.config.cjs')
  assert.equal(await ask(), 200, 'PM2 says online, and it is not ready')
  pm2('reload', 'billing')
  assert.equal(await ask(), 200, 'PM2 has reloaded, and it is not ready')
  pm2('stop', 'billing')
  const log = readFileSync(join(home, 'logs', 'billing-out.log'), 'utf8')
  assert.equal(log.match(/ready in \d+ ms/g)?.length, 2)
  assert.equal(log.match(/shut down by SIGINT/g)?.length, 2)
  console.log('started when ready, reloaded when ready, stopped in order')
} finally {
  pm2('kill')
  rmSync(home, { recursive: true })
}
