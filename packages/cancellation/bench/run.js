// What request.cancellation costs, each figure beside what it is compared with, from the same run.
import { Worker } from 'node:worker_threads'
import { setTimeout as pause } from 'node:timers/promises'
import cancellation from '@muster/cancellation'
import fastify from 'fastify'
import { startServer } from './load.js'

const ROUNDS = Number(process.env.ROUNDS ?? 15)
const REQUESTS = Number(process.env.REQUESTS ?? 20_000)
const IN_FLIGHT = Number(process.env.IN_FLIGHT ?? 10_000)

console.log(`Node ${process.version}`)
await cpuPerRequest()
await retainedHeap()
await fanOut()
await workerLatency()

async function cpuPerRequest() {
  const limits = {
    bare: '',
    ours: '≤ 5 % more',
    'ours, cancelled polled': '≤ 8 % more',
    'ours, signal read': '≤ 8 µs more, under half of request.signal',
    'new AbortController()': 'what any signal of its own costs',
    'request.signal read': '',
    'AbortSignal.any': ''
  }
  const names = Object.keys(limits)
  const servers = new Map()
  for (const name of names) servers.set(name, await startServer(name))
  for (const server of servers.values()) await server.load(REQUESTS)
  const cpu = new Map(names.map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    // Another one first in each round, so that none is always the warmest.
    for (const [i] of names.entries()) {
      const name = names[(i + round) % names.length]
      const server = servers.get(name)
      const before = total(await server.ask('cpu'))
      await server.load(REQUESTS)
      cpu.get(name).push((total(await server.ask('cpu')) - before) / REQUESTS)
    }
  }
  for (const server of servers.values()) server.stop()
  const bare = cpu.get('bare')
  console.log(
    `CPU of the server per request, kernel included; medians of ${ROUNDS} rounds of ${REQUESTS}`
  )
  console.table(
    names.map((name) => ({
      handler: name,
      µs: round(median(cpu.get(name))),
      'more µs': round(median(cpu.get(name).map((each, i) => each - bare[i]))),
      'more %': round(median(cpu.get(name).map((each, i) => (each / bare[i] - 1) * 100))),
      'least µs': round(Math.min(...cpu.get(name))),
      'more % of least': round((Math.min(...cpu.get(name)) / Math.min(...bare) - 1) * 100),
      'may be': limits[name]
    }))
  )
}

async function retainedHeap() {
  const rows = []
  for (const name of ['bare', 'ours, signal read', 'AbortSignal.any']) {
    const server = await startServer(name, ['--expose-gc'])
    await server.load(5_000)
    const before = await server.ask('heap')
    await server.load(50_000)
    const bytes = ((await server.ask('heap')) - before) / 50_000
    const limit = name.startsWith('ours') ? '≤ 8' : ''
    rows.push({ handler: name, 'bytes per request': round(bytes), 'may be': limit })
    server.stop()
  }
  console.log('Heap retained per finished request after 50,000 of them and GC')
  console.table(rows)
}

async function fanOut() {
  const limits = {
    'one listener each': '',
    'ours, listening': 'total ≤ 50, longest block ≤ 5',
    'ours, not listening': 'total ≤ 2'
  }
  const rows = []
  for (const [name, limit] of Object.entries(limits)) {
    const results = []
    for (let i = 0; i < 7; i++) {
      const server = await startServer(name)
      const close = await server.hold(IN_FLIGHT)
      while ((await server.ask('count')) < IN_FLIGHT) await pause(50)
      results.push(await server.ask('fanOut'))
      close()
      server.stop()
    }
    rows.push({
      handler: name,
      'total ms': round(median(results.map((each) => each.total))),
      'longest block ms': round(median(results.map((each) => each.longest))),
      told: results[0].told,
      'may be': limit
    })
  }
  console.log(`Cancelling ${IN_FLIGHT} requests in flight at once; medians of 7 processes`)
  console.table(rows)
}

async function workerLatency() {
  const latencies = []
  const costs = []
  const app = fastify()
  const held = []
  await app.register(cancellation)
  app.get('/', (request) => void held.push(request))
  await app.listen({ port: 0, host: '127.0.0.1' })
  for (let i = 0; i < 100; i++) {
    const answered = fetch(app.listeningOrigin)
    while (held.length <= i) await pause(5)
    const request = held[i]
    const ready = new SharedArrayBuffer(4)
    const workerData = { shared: request.cancellation.share(), ready }
    const worker = new Worker(new URL('./polling-worker.js', import.meta.url), { workerData })
    const answer = new Promise((resolve) => worker.once('message', resolve))
    const ended = new Promise((resolve) => worker.once('exit', resolve))
    while (new Int32Array(ready)[0] === 0) await pause(5)
    await pause(5)
    const begun = performance.timeOrigin + performance.now()
    app.cancellation.cancel(request.id, 'bench')
    const { at, perPoll } = await answer
    latencies.push(at - begun)
    costs.push(perPoll)
    request.raw.destroy()
    await Promise.all([answered.catch(() => {}), ended])
  }
  await app.close()
  console.log(
    'A synchronous loop in a worker sees the flag; 100 workers (a message would never be seen)'
  )
  console.table([
    {
      'p50 ms': round(median(latencies)),
      'p99 ms': round(latencies.toSorted((a, b) => a - b)[98]),
      'ns per poll': round(median(costs)),
      'may be': 'p99 ≤ 2'
    }
  ])
}

function total({ user, system }) {
  return user + system
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}

function round(value) {
  return Math.round(value * 100) / 100
}
