// Runs the example: a small count answers; a large one stops when its client leaves, its time is over, or the server goes.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'

const server = spawn(process.execPath, [fileURLToPath(new URL('server.js', import.meta.url))], {
  env: { ...process.env, PORT: '0', DEADLINE: '1500' },
  stdio: ['ignore', 'pipe', 'inherit']
})
process.once('exit', () => server.kill('SIGKILL'))
let output = ''
server.stdout.setEncoding('utf8').on('data', (text) => (output += text))
const [, origin] = await until(/Server listening at (http:\S+?)"/)
const HUGE = `${origin}/primes/100000000000`

const small = await fetch(`${origin}/primes/1000`)
console.log(`a small count: ${await small.text()}`)
await ended(1)

const controller = new AbortController()
const left = fetch(HUGE, { signal: controller.signal }).catch(() => {})
await pause(300)
controller.abort()
await left
await ended(2)
console.log('the client left: the worker has ended')

const late = await fetch(HUGE)
console.log(`the deadline: ${late.status} ${await late.text()}`)
assert.equal(late.status, 504)
await ended(3)

const cut = fetch(HUGE)
await until(/(incoming request[^]*){4}/)
server.kill('SIGTERM')
const response = await cut
console.log(`the server goes: ${response.status} ${await response.text()}`)
assert.equal(response.status, 503)
const [code] = await once(server, 'close')
console.log(`exit code ${code}`)
assert.equal(code, 0)

async function ended(count) {
  await until(new RegExp(`(the worker has ended[^]*){${count}}`))
}

async function until(pattern) {
  for (const end = Date.now() + 10_000; Date.now() < end; await pause(10)) {
    const match = pattern.exec(output)
    if (match) return match
  }
  throw new Error(`no ${pattern} in:\n${output}`)
}
