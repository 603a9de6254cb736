// Starts the server and shows, from outside, what its warm-up looks like. Exits with 0 if it looks as it should.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const server = spawn(process.execPath, [fileURLToPath(new URL('server.js', import.meta.url))], {
  env: { ...process.env, PORT: '0' },
  stdio: ['ignore', 'pipe', 'inherit']
})
process.once('exit', () => server.kill('SIGKILL'))
const exited = once(server, 'exit')
const started = performance.now()

function say(text) {
  console.log(`${String(Math.round(performance.now() - started)).padStart(6)} ms  ${text}`)
}

const listening = new Promise((resolve) => {
  createInterface(server.stdout).on('line', (line) => {
    const { msg } = JSON.parse(line)
    if (/^(ready|draining|shut down)/.test(msg)) say(`server: ${msg}`)
    const origin = /^Server listening at (\S+)/.exec(msg)?.[1]
    if (origin) resolve(origin)
  })
})

async function get(path) {
  const response = await fetch((await listening) + path)
  const retry = response.headers.get('retry-after')
  const body = await response.text()
  say(`GET ${path} → ${response.status}${retry ? `, retry after ${retry} s` : ''}: ${body}`)
  return response.status
}

await listening
say('the port is bound: the labels are there')
assert.equal(await get('/livez'), 200)
assert.equal(await get('/readyz'), 503)
assert.equal(await get('/classify/hello'), 503)
assert.equal(await get('/wait/hello'), 200)
assert.equal(await get('/readyz'), 200)
assert.equal(await get('/classify/hello'), 200)
server.kill('SIGTERM')
const [code] = await exited
say(`exit code ${code}`)
assert.equal(code, 0)
