import assert from 'node:assert/strict'
import { cancellation } from '@muster/cancellation'
import { orchestrator } from '@muster/orchestrator'
import { presence } from '@muster/presence'
import { readiness, type ReadinessState } from '@muster/readiness'
import { registration } from '@muster/registration'
import { service } from '@muster/service'
import { shutdown } from '@muster/shutdown'
import { eager, warmup } from '@muster/warmup'
import Fastify, { type FastifyInstance } from 'fastify'

const other = Fastify()
await other.register(orchestrator)
const url = `${await other.listen({ port: 0, host: '127.0.0.1' })}/services/$register`

await live(async (app) => {
  await app.register(readiness, { service: 'by-string' })
  await app.register(registration, url)
})
await live(async (app) => {
  await app.register(readiness, { service: 'by-url' })
  await app.register(registration, new URL(url))
})
await live(async (app) => {
  await app.register(readiness)
  await app.register(registration, { url, service: 'by-options' })
  await app.register(warmup, { tasks: { answer: eager(async () => 42) } })
  await app.register(presence)
  await app.register(shutdown, { drainDelay: 0 })
})
await live(async (app) => {
  await app.register(service, { service: 'all-in-one', orchestrator: url })
})
await other.close()
console.log('used by import')

/** Registers, listens, is seen by the orchestrator, answers, and is gone again. */
async function live(setUp: (app: FastifyInstance) => Promise<void>): Promise<void> {
  const app = Fastify()
  await setUp(app)
  if (!app.hasDecorator('cancellation')) await app.register(cancellation)
  app.get('/', async (request) => {
    request.cancellation.throwIfCancelled()
    return { cancelled: request.cancellation.cancelled }
  })
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  await app.readiness.whenReady({ signal: AbortSignal.timeout(10_000) })
  const state: ReadinessState = app.readiness.state
  assert.equal(state, 'ready')
  assert.deepEqual(await (await fetch(origin)).json(), { cancelled: false })
  await until(() => app.registration.state === 'registered')
  await app.close()
  assert.equal(await count(), 0)
}

async function count(): Promise<number> {
  const response = await fetch(new URL('.', url))
  return ((await response.json()) as { count: number }).count
}

async function until(done: () => boolean): Promise<void> {
  const end = Date.now() + 10_000
  while (!done()) {
    assert(Date.now() < end, 'too late')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
