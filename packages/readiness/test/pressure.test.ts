import underPressure from '@fastify/under-pressure'
import { eventually } from '@muster/testkit'
import Fastify from 'fastify'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readiness, type ReadinessOptions } from '../src/index.ts'
import { changesOf, createService, get, listen } from './service.ts'

const statuses = async (origin: string) => ({
  live: (await get(`${origin}/livez`)).status,
  ready: (await get(`${origin}/readyz`)).status,
  user: (await get(origin)).status
})

/** An app whose `@fastify/under-pressure` is registered by the application, and is fine while `health.ok`. */
async function createPressed(options: ReadinessOptions, order: 'before' | 'after') {
  const health = { ok: true }
  const app = Fastify()
  onTestFinished(() => app.close())
  const press = () =>
    app.register(underPressure, { healthCheck: async () => health.ok, healthCheckInterval: 50 })
  if (order === 'before') await press()
  await app.register(readiness, { service: 'test', ...options })
  if (order === 'after') await press()
  app.get('/', async () => 'served')
  return { app, health }
}

describe('pressure', () => {
  it.each(['before', 'after'] as const)(
    'told by an @fastify/under-pressure registered %s makes the service unready and back',
    async (order) => {
      const { app, health } = await createPressed({}, order)
      const origin = await listen(app)
      await app.readiness.whenReady()
      const changes = changesOf(app)

      health.ok = false
      await eventually(() => expect(app.readiness.state).toBe('unready'))
      expect(await statuses(origin)).toEqual({ live: 200, ready: 503, user: 503 })
      health.ok = true
      await eventually(() => expect(app.readiness.state).toBe('ready'))
      expect(await statuses(origin)).toEqual({ live: 200, ready: 200, user: 200 })

      const told = /^check under-pressure: under pressure \(event loop delay \d+ ms, heap \d+ MiB/
      expect(changes.map(({ state }) => state)).toEqual(['unready', 'ready'])
      expect(changes[0]?.cause).toMatch(told)
    }
  )

  it('that is over by the next sample shakes nobody', async () => {
    const { app, health } = await createPressed({}, 'before')
    await listen(app)
    await app.readiness.whenReady()
    const changes = changesOf(app)
    health.ok = false
    const failures = () => app.readiness.report().checks['under-pressure']?.failures
    await eventually(() => expect(failures()).toBe(1))
    health.ok = true
    await eventually(() => expect(failures()).toBe(0))
    expect(changes).toEqual([])
  })

  it('does not count where it is told not to', async () => {
    const { app, health } = await createPressed({ pressure: false }, 'before')
    await listen(app)
    await app.readiness.whenReady()
    health.ok = false
    await eventually(() =>
      expect((app as unknown as { isUnderPressure(): boolean }).isUnderPressure()).toBe(true)
    )
    expect(app.readiness.report().checks).toEqual({})
  })

  it('is watched with limits of its own, which user routes answer with 503 and probes pass', async () => {
    const pressure = { maxHeapUsedBytes: 1, sampleInterval: 50, retryAfter: 7 }
    const app = await createService({ pressure })
    const origin = await listen(app)
    await eventually(() => expect(app.readiness.state).toBe('unready'))
    expect(await statuses(origin)).toEqual({ live: 200, ready: 503, user: 503 })
    const { headers, body } = await get(origin)
    expect([headers.get('retry-after'), JSON.parse(body).code]).toEqual(['7', 'FST_UNDER_PRESSURE'])
  })

  it('cannot be watched twice', async () => {
    const app = Fastify()
    await app.register(underPressure, {})
    const registering = app.register(readiness, { pressure: { maxEventLoopDelay: 1_000 } })
    await expect(registering).rejects.toThrow('leave the option out')
    await expect(registering).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
  })
})

it('contrast: @fastify/under-pressure answers 503 on a health route of the application', async () => {
  const app = Fastify()
  onTestFinished(() => app.close())
  await app.register(underPressure, { maxHeapUsedBytes: 1, sampleInterval: 50 })
  app.get('/livez', async () => 'live')
  const origin = await listen(app)
  await eventually(async () => expect((await get(`${origin}/livez`)).status).toBe(503))
})
