// The cluster is ready when its four workers are, unready when one dies, and ready again after its replacement.
import { freePort, startFixture } from '@muster/testkit'
import { isReady, readyPid } from '@muster/readiness/marker'
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const dir = mkdtempSync(join(tmpdir(), 'muster-cluster-'))
const marker = { dir, service: 'billing' }
const env = { MUSTER_READY_DIR: dir, PORT: `${await freePort()}` }
const primary = startFixture(new URL('server.js', import.meta.url), { env })

try {
  await primary.waitFor(/ready: 4 workers are ready/)
  assert.ok(isReady(marker) && isReady({ ...marker, parts: 4 }))

  process.kill(readyPid({ ...marker, part: '1' }), 'SIGKILL')
  await primary.waitFor(/unready: workers: 3 of 4 are ready, worker 1 is gone/)
  await primary.waitFor(/unready:[^]*\nready: 4 workers are ready/)
  assert.deepEqual(readdirSync(join(dir, 'billing')).toSorted(), [
    '.ready',
    '.ready.2',
    '.ready.3',
    '.ready.4',
    '.ready.5'
  ])

  primary.signal('SIGTERM')
  assert.deepEqual(await primary.exited, { code: 0, signal: null })
  assert.deepEqual(readdirSync(join(dir, 'billing')), [])
  console.log('ready with four, unready with three, ready again, and nothing left behind')
} finally {
  await primary.kill()
  rmSync(dir, { recursive: true })
}
