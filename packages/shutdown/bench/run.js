// What ending costs: SIGTERM to exit of an idle process, and close() with a keep-alive request in flight.
import { shutdown } from '@muster/shutdown'
import Fastify from 'fastify'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'

const ROUNDS = 15
const HANDLER = 300

const idle = { bare: [], muster: [] }
for (let round = 0; round < ROUNDS; round++) {
  for (const kind of ['bare', 'muster']) idle[kind].push(await exitTime(kind))
}
console.log(`SIGTERM to exit, idle, drain delay 0; medians of ${ROUNDS}, in ms`)
const [bareIdle, ours] = [median(idle.bare), median(idle.muster)]
console.table([
  { service: 'Fastify + close-with-grace', ms: round(bareIdle) },
  {
    service: '@muster/shutdown',
    ms: round(ours),
    more: round(ours - bareIdle),
    'may be': '≤ 30 more'
  }
])

console.log(`close() with one keep-alive request in flight (handler ${HANDLER} ms); in ms`)
const closing = []
for (let round = 0; round < 5; round++) closing.push(await closeTime(true))
console.table([
  { service: 'bare Fastify', ms: round(await closeTime(false)) },
  { service: '@muster/shutdown', ms: round(median(closing)), 'may be': '≤ 400' }
])

async function exitTime(kind) {
  const child = fork(fileURLToPath(new URL('idle.js', import.meta.url)), {
    env: { ...process.env, KIND: kind }
  })
  await once(child, 'message')
  await pause(100)
  const start = performance.now()
  child.kill('SIGTERM')
  await once(child, 'exit')
  return performance.now() - start
}

async function closeTime(withMuster) {
  const app = Fastify()
  if (withMuster) await app.register(shutdown)
  let arrived
  const arrival = new Promise((resolve) => (arrived = resolve))
  app.get('/', async () => {
    arrived()
    await pause(HANDLER)
    return 'served'
  })
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  if (withMuster) await app.readiness.whenReady()
  const agent = new Agent({ keepAlive: true })
  const answered = once(get(origin, { agent }), 'response')
  await arrival
  const start = performance.now()
  await app.close()
  const took = performance.now() - start
  const [response] = await answered
  response.resume()
  await once(response, 'end')
  agent.destroy()
  return took
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}

function round(ms) {
  return Math.round(ms * 10) / 10
}
