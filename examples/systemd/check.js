// Has systemd read the unit, and lives through start, reload and stop with a socket in systemd's place.
import { eventually, freePort, startFixture } from '@muster/testkit'
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const unit = fileURLToPath(new URL('billing.service', import.meta.url))
const verified = spawnSync('systemd-analyze', ['verify', '--man=no', unit], { encoding: 'utf8' })
// Debian 12 has systemd 252, which does not know OpenFile= yet and says that it ignores it.
const complaints = verified.stderr.split('\n').filter((line) => line && !line.includes('OpenFile'))
// The program is not installed in /srv here.
assert.deepEqual([verified.status, complaints], [0, []])

const directory = mkdtempSync(join(tmpdir(), 'muster-systemd-'))
const socket = join(directory, 'notify')
// Node has no unix datagram sockets.
const receive = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
while True: print(receiver.recv(4096).decode(), flush=True)`
const manager = spawn('python3', ['-c', receive, socket])
let heard = ''
manager.stdout.on('data', (data) => (heard += data))
const hears = (text) => eventually(() => assert.ok(heard.includes(text), `no ${text} in ${heard}`))

try {
  await eventually(() => assert.ok(existsSync(socket)))
  const server = startFixture(new URL('server.js', import.meta.url), {
    env: { NOTIFY_SOCKET: socket, RUNTIME_DIRECTORY: directory, PORT: `${await freePort()}` }
  })
  await hears('STATUS=waiting for')
  assert.ok(!heard.includes('READY=1'))
  await hears('READY=1\nSTATUS=ready')
  assert.ok(existsSync(join(directory, 'billing', '.ready')))
  heard = ''
  server.signal('SIGHUP')
  await hears('RELOADING=1\nMONOTONIC_USEC=')
  await hears('READY=1')
  server.signal('SIGTERM')
  await hears('STOPPING=1')
  assert.deepEqual(await server.exited, { code: 0, signal: null })
  assert.ok(!existsSync(join(directory, 'billing', '.ready')))
  console.log('the unit is valid; waiting, ready, reloaded and stopped were told')
} finally {
  manager.kill()
  rmSync(directory, { recursive: true })
}
