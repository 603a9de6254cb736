// What all plugins together cost: server CPU for each request when nothing is read, and time to come up.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { keepAliveLoad } from '@muster/testkit'

const PROCESSES = 9
const ROUNDS = 5
const REQUESTS = 15_000
const STARTS = 25
const BODY = JSON.stringify({ text: 'x'.repeat(100) })
const HEAD = 'HTTP/1.1\r\nhost: x\r\n'
const METHODS = {
  GET: { request: `GET / ${HEAD}\r\n`, responseEnd: '{"hello":"world"}' },
  POST: {
    request: `POST / ${HEAD}content-type: application/json\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`,
    responseEnd: '{"size":100}'
  }
}

await cpuPerRequest()
await boot()

/** In several processes each: the same code is compiled faster in one process than in the next. */
async function cpuPerRequest() {
  const rows = []
  for (const [method, what] of Object.entries(METHODS)) {
    const spent = { bare: [], service: [] }
    for (let i = 0; i < PROCESSES; i++) {
      const servers = { bare: await start('bare'), service: await start('service') }
      const rounds = { bare: [], service: [] }
      for (const { port } of Object.values(servers)) {
        await keepAliveLoad({ port, requests: 2 * REQUESTS, ...what })
      }
      for (let round = 0; round < ROUNDS; round++) {
        const kinds = Object.keys(servers)
        for (const kind of round % 2 ? kinds.reverse() : kinds) {
          rounds[kind].push(await cost(servers[kind], what))
        }
      }
      for (const [kind, { child }] of Object.entries(servers)) {
        spent[kind].push(median(rounds[kind]))
        child.disconnect()
      }
    }
    const [bare, service] = [median(spent.bare), median(spent.service)]
    rows.push({
      method,
      'bare Fastify': round(bare),
      '@muster/service': round(service),
      'more %': round((service / bare - 1) * 100),
      'more % of the least': round(
        (Math.min(...spent.service) / Math.min(...spent.bare) - 1) * 100
      ),
      'may be': '≤ 5 %'
    })
  }
  console.log(
    `server CPU for each request, nothing read, in µs; medians of ${PROCESSES} processes, each of ${ROUNDS} × ${REQUESTS}`
  )
  console.table(rows)
}

/** µs of the server for one request. */
async function cost({ child, port }, what) {
  const before = await used(child)
  await keepAliveLoad({ port, requests: REQUESTS, ...what })
  return ((await used(child)) - before) / REQUESTS
}

async function boot() {
  const kinds = {
    bare: 'bare Fastify',
    readiness: '@muster/readiness',
    service: 'all plugins (@muster/service, presence in memory)'
  }
  const starts = { bare: [], readiness: [], service: [] }
  for (let i = 0; i < STARTS; i++) {
    for (const kind of Object.keys(kinds)) {
      const { child, ...report } = await start(kind)
      starts[kind].push(report)
      child.disconnect()
      await once(child, 'exit')
    }
  }
  const middle = (kind, figure) => median(starts[kind].map((report) => report[figure]))
  console.log(
    `boot: import, register, listen and ready (for bare Fastify: listening), a fresh process each; medians of ${STARTS}, in ms`
  )
  console.table(
    Object.entries(kinds).map(([kind, what]) => ({
      what,
      ms: round(middle(kind, 'ready')),
      more: round(middle(kind, 'ready') - middle('bare', 'ready')),
      cpu: round(middle(kind, 'cpu')),
      'more cpu': round(middle(kind, 'cpu') - middle('bare', 'cpu')),
      'may be': kind === 'service' ? '≤ 60 more' : ''
    }))
  )
}

async function start(kind) {
  const child = fork(new URL('server.js', import.meta.url), {
    env: { ...process.env, KIND: kind }
  })
  const [message] = await once(child, 'message')
  return { child, ...message }
}

async function used(child) {
  child.send('how much?')
  const [{ cpu }] = await once(child, 'message')
  return cpu
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}

function round(value) {
  return Math.round(value * 10) / 10
}
