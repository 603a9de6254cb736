import type { FastifyInstance } from 'fastify'
import { memoryLeases } from '@muster/leases'
import { eventually } from '@muster/testkit'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { RosterEvent } from '../src/index.ts'
import { eventStream } from './event-stream.ts'
import { BILLING, register, send, startOrchestrator } from './raw-client.ts'

let app: FastifyInstance
let port: number

beforeEach(async () => {
  const store = memoryLeases({ namespace: crypto.randomUUID(), ttl: 300, expiryShare: 1 })
  const started = await startOrchestrator({ store })
  app = started.app
  port = started.port
})

afterEach(() => app.close())

it('sends a snapshot first, then who joined, changed, left and expired', async () => {
  await register(port, { instance_id: 'r1', incarnation: 'i1' })
  const { connection, next } = await eventStream(port)
  const snapshot = await next('snapshot')
  expect(connection.received).toMatch(/^HTTP\/1.1 200 OK\r\n/)
  expect(connection.received).toMatch(/content-type: text\/event-stream\r\n/)
  expect(connection.received).toMatch(/cache-control: no-store\r\n/)
  expect(snapshot.data).toEqual([
    {
      id: 'billing',
      instance_id: 'r1',
      incarnation: 'i1',
      status: 'alive',
      url: BILLING.url,
      info: BILLING.info,
      registered_at: expect.any(String),
      last_updated: expect.any(String)
    }
  ])
  await register(port, { instance_id: 'r2' })
  expect((await next('joined')).data).toMatchObject({ id: 'billing', instance_id: 'r2' })
  await register(port, { instance_id: 'r2', info: { zone: 'b' } })
  expect((await next('changed')).data).toMatchObject({ instance_id: 'r2', info: { zone: 'b' } })
  await send(port, 'DELETE', '/services/billing?instance_id=r2')
  expect((await next('left')).data).toMatchObject({ instance_id: 'r2' })
  expect((await next('expired')).data).toMatchObject({ instance_id: 'r1' })
  connection.destroy()
})

it('sends an empty snapshot where nobody is', async () => {
  const { connection, next } = await eventStream(port)
  expect((await next('snapshot')).data).toEqual([])
  connection.destroy()
})

it('says nothing of a ping', async () => {
  await register(port)
  const stream = await eventStream(port)
  await stream.next('snapshot')
  for (let i = 0; i < 5; i++) await send(port, 'PUT', '/services/billing/$ping')
  await register(port, { id: 'other' })
  await stream.next('joined')
  expect(stream.events.map(({ event }) => event)).toEqual(['snapshot', 'joined'])
  stream.connection.destroy()
})

it('says "joined" alone of who left, or was lost, and comes back unchanged', async () => {
  const stream = await eventStream(port)
  await stream.next('snapshot')
  await register(port)
  await send(port, 'DELETE', '/services/billing')
  await register(port)
  await stream.next('expired')
  expect((await send(port, 'PUT', '/services/billing/$ping')).status).toBe(404)
  await register(port)
  await stream.next('joined')
  // What would be said of the same registration has been said before this.
  await register(port, { id: 'other' })
  await stream.next('joined')
  expect(stream.events.map(({ event }) => event)).not.toContain('changed')
  const joined = stream.events.filter(({ event }) => event === 'joined')
  const [came, back, again] = joined.map(({ data }) => data)
  expect(back.registered_at >= came.last_updated).toBe(true)
  expect(again.registered_at > back.registered_at).toBe(true)
  stream.connection.destroy()
})

it('resumes after Last-Event-ID with what was missed and no snapshot', async () => {
  const first = await eventStream(port)
  await first.next('snapshot')
  await register(port, { id: 'a' })
  const { id } = await first.next('joined')
  first.connection.destroy()
  await register(port, { id: 'b' })
  await send(port, 'DELETE', '/services/b')
  const second = await eventStream(port, `last-event-id: ${id}\r\n`)
  await second.next('left')
  expect(second.events.map(({ event, data }) => [event, data.id])).toEqual([
    ['joined', 'b'],
    ['left', 'b']
  ])
  second.connection.destroy()
})

it.each(['nonsense', 'abcdef01-7', '-', 'NaN-NaN'])(
  'sends a snapshot after the Last-Event-ID %s, which it does not know',
  async (id) => {
    const { connection, next } = await eventStream(port, `last-event-id: ${id}\r\n`)
    expect((await next('snapshot')).data).toEqual([])
    connection.destroy()
  }
)

it('sends a snapshot where more was missed than it keeps', async () => {
  const first = await eventStream(port)
  const { id } = await first.next('snapshot')
  first.connection.destroy()
  for (let i = 0; i < 520; i++) {
    await app.inject({
      method: 'POST',
      url: '/services/$register',
      payload: { ...BILLING, id: 'x' }
    })
    await app.inject({ method: 'DELETE', url: '/services/x' })
  }
  await register(port, { id: 'last' })
  const second = await eventStream(port, `last-event-id: ${id}\r\n`)
  const { data } = await second.next('snapshot')
  expect(data.map((each: { id: string }) => each.id)).toEqual(['last'])
  second.connection.destroy()
})

it('ends with "event: shutdown" when the app closes', async () => {
  const { connection, next } = await eventStream(port)
  await next('snapshot')
  const start = performance.now()
  await app.close()
  await next('shutdown')
  await eventually(() => expect(connection.closed).toBe(true))
  expect(performance.now() - start).toBeLessThan(1_000)
})

it('lets go of who has gone', async () => {
  // Were they still counted, the last of these would be refused.
  for (let round = 0; round < 25; round++) {
    const streams = await Promise.all(Array.from({ length: 50 }, () => eventStream(port)))
    for (const { next, connection } of streams) {
      expect((await next('snapshot')).data).toEqual([])
      connection.destroy()
    }
  }
}, 20_000)

it('tells app.orchestrator as well', async () => {
  const events: RosterEvent[] = []
  app.orchestrator.on('change', () => {
    throw new Error('mine')
  })
  app.orchestrator.on('change', (event) => void events.push(event))
  await register(port)
  await eventually(() => expect(events.map(({ type }) => type)).toEqual(['joined', 'expired']))
  expect(events[0]?.instance).toMatchObject({ id: 'billing', status: 'alive' })
  await register(port)
  expect(await app.orchestrator.service('billing')).toMatchObject({ id: 'billing' })
  expect(await app.orchestrator.services({ limit: 1 })).toMatchObject({
    services: [{ id: 'billing' }],
    next: undefined
  })
})
