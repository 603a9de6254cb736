// Registrations and pings per second with 10,000 instances, against a bare Fastify route in the same run.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import autocannon from 'autocannon'
import { startRedis } from '@muster/testkit'

const INSTANCES = 10_000
const SERVICES = 1_000
const CONNECTIONS = 16
const ROUNDS = Number(process.env.ROUNDS ?? 5)
const SECONDS = Number(process.env.SECONDS ?? 3)
const LIMITS = { memory: 0.6, redis: 0.2 }
const PING_P99_LIMIT = 5
const PING_RATE = 2_000

const instances = Array.from({ length: INSTANCES }, (_, i) => {
  const id = `service-${i % SERVICES}`
  const instance_id = `host-${i}`
  const incarnation = `i${i}`
  const url = `http://10.0.${i >> 8}.${i & 255}:8080`
  const info = { id, display_name: id, version: '1.0.0', description: null, zone: 'eu-1' }
  return { id, url, info, instance_id, incarnation }
})

const requests = {
  ping: instances.map(({ id, instance_id, incarnation }) => ({
    method: 'PUT',
    path: `/services/${id}/$ping?instance_id=${instance_id}&incarnation=${incarnation}`
  })),
  register: instances.map((instance) => ({
    method: 'POST',
    path: '/services/$register',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(instance)
  }))
}

const redis = await startRedis()
const servers = {}
for (const kind of ['bare', 'memory', 'redis']) servers[kind] = await start(kind)
for (const kind of ['memory', 'redis']) await fill(servers[kind].port)

const results = {}
for (const what of ['ping', 'register']) {
  // Until the code is compiled hot the figures say little.
  for (const kind of Object.keys(servers)) await load(kind, what, { duration: SECONDS })
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of Object.keys(servers)) {
      const before = await cpu(kind)
      const { requests: rate, non2xx } = await load(kind, what, { duration: SECONDS })
      if (non2xx > 0) throw new Error(`${kind} ${what}: ${non2xx} answers that are no success`)
      const spent = ((await cpu(kind)) - before) / rate.total
      ;((results[what] ??= {})[kind] ??= []).push({ rate: rate.average, spent })
    }
  }
}
const latency = {}
for (const kind of Object.keys(servers)) {
  // The first time is that of this process, which still carries what the load left behind.
  await pacedPings(kind)
  latency[kind] = await pacedPings(kind)
}

const rows = []
for (const [what, rates] of Object.entries(results)) {
  for (const [kind, values] of Object.entries(rates)) {
    const rate = median(values.map((value) => value.rate))
    const ratio = rate / median(rates.bare.map((value) => value.rate))
    rows.push({
      what: `${what}, ${kind}`,
      'per second': Math.round(rate),
      'server CPU': `${median(values.map(({ spent }) => spent)).toFixed(1)} µs`,
      'of bare': `${Math.round(ratio * 100)} %`,
      'must be': kind in LIMITS ? `≥ ${LIMITS[kind] * 100} %` : '',
      met: kind in LIMITS ? (ratio >= LIMITS[kind] ? 'yes' : 'NO') : ''
    })
  }
}
for (const [kind, times] of Object.entries(latency)) {
  const p99 = times[Math.floor(times.length * 0.99)]
  rows.push({
    what: `ping p99 at ${PING_RATE}/s, ${kind}`,
    'per second': `${p99.toFixed(1)} ms`,
    'server CPU': '',
    'of bare': '',
    'must be': kind in LIMITS ? `≤ ${PING_P99_LIMIT} ms` : '',
    met: kind in LIMITS ? (p99 <= PING_P99_LIMIT ? 'yes' : 'NO') : ''
  })
}
console.log(`${INSTANCES} instances of ${SERVICES} services, ${CONNECTIONS} connections`)
console.log(`medians of ${ROUNDS} × ${SECONDS} s, Node ${process.version}`)
console.table(rows)

for (const { child } of Object.values(servers)) child.disconnect()
await redis.close()

async function start(kind) {
  const child = fork(new URL('server.js', import.meta.url), [kind, redis.url])
  const [{ port }] = await once(child, 'message')
  return { child, port }
}

/** µs that the server has spent so far. */
async function cpu(kind) {
  const { child } = servers[kind]
  child.send('cpu')
  const [{ cpu: spent }] = await once(child, 'message')
  return spent.user + spent.system
}

async function fill(port) {
  const rest = [...requests.register]
  const work = async () => {
    for (let next = rest.pop(); next; next = rest.pop()) {
      const { method, path, headers, body } = next
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers, body })
      await answer.arrayBuffer()
      if (!answer.ok) throw new Error(`registering: ${answer.status}`)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, work))
}

/** Each connection walks through the instances from a place of its own. */
function load(kind, what, options) {
  let client = 0
  return autocannon({
    url: `http://127.0.0.1:${servers[kind].port}`,
    connections: CONNECTIONS,
    ...options,
    setupClient(connection) {
      const from = (client++ * INSTANCES) / CONNECTIONS
      const all = requests[what]
      connection.setRequests(all.slice(from, from + INSTANCES / CONNECTIONS))
    }
  })
}

/** Sends pings at a steady rate, whether answers come or not; returns how long each took, in order of length. */
async function pacedPings(kind) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const { port } = servers[kind]
  const times = []
  const ping = ({ method, path }) =>
    new Promise((resolve, reject) => {
      const start = performance.now()
      const call = request({ port, host: '127.0.0.1', method, path, agent }, (answer) => {
        answer.resume().once('end', () => resolve(times.push(performance.now() - start)))
      })
      call.once('error', reject).end()
    })
  const pings = []
  const start = performance.now()
  const total = PING_RATE * SECONDS * 2
  while (pings.length < total) {
    const due = Math.min(total, ((performance.now() - start) / 1_000) * PING_RATE)
    while (pings.length < due) pings.push(ping(requests.ping[pings.length % INSTANCES]))
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(pings)
  agent.destroy()
  return times.toSorted((a, b) => a - b)
}

function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1]
}
