// Runs the example and shows the three ways a request is cancelled. Exits with 0 if all of them stop the upstream calls.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'

const server = spawn(process.execPath, [fileURLToPath(new URL('server.js', import.meta.url))], {
  env: { ...process.env, PORT: '0' },
  stdio: ['ignore', 'pipe', 'inherit']
})
process.once('exit', () => server.kill('SIGKILL'))
let output = ''
server.stdout.setEncoding('utf8').on('data', (text) => {
  output += text
  for (const line of text.split('\n')) if (line.startsWith('upstream')) console.log(`  ${line}`)
})

const [, origin] = await until(/Server listening at (http:\S+?)"/)
const count = (pattern) => output.match(new RegExp(pattern, 'g'))?.length ?? 0

console.log('the client leaves')
const controller = new AbortController()
const left = fetch(`${origin}/report`, { method: 'POST', body: '', signal: controller.signal })
await until(/(begins[^]*){3}/)
controller.abort()
await left.catch(() => {})
await until(/(stopped[^]*){3}/)

console.log('the caller waits for 300 ms only')
const headers = { 'x-request-timeout-ms': '300' }
const late = await fetch(`${origin}/report`, { method: 'POST', body: '', headers })
console.log(`  ${late.status} ${await late.text()}`)
assert.equal(late.status, 504)
await until(/(stopped[^]*){6}/)

console.log('the server is told to go')
const cut = fetch(`${origin}/report`, { method: 'POST', body: '' })
await until(/(begins[^]*){9}/)
server.kill('SIGTERM')
const response = await cut
console.log(`  ${response.status} ${await response.text()}`)
assert.equal(response.status, 503)
const [code] = await once(server, 'close')
console.log(`exit code ${code}; ${count('stopped')} upstream calls stopped`)
assert.equal(code, 0)
assert.equal(count('stopped'), 9)

async function until(pattern) {
  for (const end = Date.now() + 10_000; Date.now() < end; await pause(10)) {
    const match = pattern.exec(output)
    if (match) return match
  }
  throw new Error(`no ${pattern} in:\n${output}`)
}
