// What all plugins together cost: server CPU for each request when nothing is read, and time to come up.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { fileURLToPath } from 'node:url'

const KINDS = ['bare', 'muster']
const ROUNDS = 9
const REQUESTS = 20_000
const CONNECTIONS = 20
const BODY = JSON.stringify({ text: 'x'.repeat(100) })

const cpu = { GET: { bare: [], muster: [] }, POST: { bare: [], muster: [] } }
const boot = { bare: [], muster: [] }
for (let round = 0; round < ROUNDS; round++) {
  for (const kind of KINDS) {
    const { child, port, ready } = await start(kind)
    boot[kind].push(ready)
    for (const method of ['GET', 'POST']) {
      await load(port, method, REQUESTS / 4)
      const before = await used(child)
      await load(port, method, REQUESTS)
      cpu[method][kind].push((await used(child)) - before)
    }
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

console.log(`server CPU for each request, nothing read; medians of ${ROUNDS} × ${REQUESTS}, in µs`)
console.table(
  Object.entries(cpu).map(([method, by]) => {
    const [bare, muster] = KINDS.map((kind) => median(by[kind]) / REQUESTS)
    return {
      method,
      ...row(bare, muster),
      more: `${((muster / bare - 1) * 100).toFixed(1)} %`,
      'may be': '≤ 5 %'
    }
  })
)
console.log(
  `from the start of the process to ready (for bare Fastify: listening); medians of ${ROUNDS}, in ms`
)
const [bare, muster] = KINDS.map((kind) => median(boot[kind]))
console.table([
  { ...row(bare, muster), more: `${(muster - bare).toFixed(0)} ms`, 'may be': '≤ 60 ms' }
])

function row(bare, muster) {
  return { 'bare Fastify': bare.toFixed(2), '@muster/service': muster.toFixed(2) }
}

async function start(kind) {
  const child = fork(fileURLToPath(new URL('server.js', import.meta.url)), {
    env: { ...process.env, KIND: kind }
  })
  const [message] = await once(child, 'message')
  return { child, ...message }
}

async function used(child) {
  child.send('how much?')
  const [{ cpu }] = await once(child, 'message')
  return cpu.user + cpu.system
}

async function load(port, method, requests) {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  let left = requests
  const connections = Array.from({ length: CONNECTIONS }, async () => {
    while (left-- > 0) await call(port, method, agent)
  })
  await Promise.all(connections)
  agent.destroy()
}

function call(port, method, agent) {
  const headers =
    method === 'POST' ? { 'content-type': 'application/json', 'content-length': BODY.length } : {}
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', method, agent, headers }, (response) =>
      response.resume().on('end', resolve)
    )
    sent.on('error', reject)
    sent.end(method === 'POST' ? BODY : undefined)
  })
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}
