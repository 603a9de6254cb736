import Fastify, { type FastifyInstance } from 'fastify'
import { memoryLeases } from '@muster/leases'
import registration, { type RegistrationOptions } from '@muster/registration'
import { eventually, freePort } from '@muster/testkit'
import { afterEach, expect, it } from 'vitest'
import orchestrator, { type OrchestratorOptions } from '../src/index.ts'
import { portOf } from './raw-client.ts'

const apps: FastifyInstance[] = []

async function serve(options: OrchestratorOptions = {}, port = 0): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(orchestrator, options)
  await app.listen({ port, host: '127.0.0.1' })
  apps.push(app)
  return app
}

async function join(
  { port, path = '/services' }: { port: number; path?: string },
  options: RegistrationOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify()
  const url = `http://127.0.0.1:${port}${path}/$register`
  await app.register(registration, {
    service: 'billing',
    retry: { min: 50, max: 200 },
    ...options,
    url
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  apps.push(app)
  return app
}

afterEach(async () => {
  for (const app of apps.splice(0).toReversed()) await app.close()
})

async function instancesOf(app: FastifyInstance, id = 'billing'): Promise<string[]> {
  const service = await app.orchestrator.service(id)
  return (service?.instances ?? []).map(({ instance_id }) => instance_id).toSorted()
}

it('replicas register beside each other, ping past the TTL and leave one by one', async () => {
  const center = await serve({ ttl: 1_000, key: 'k' })
  const port = portOf(center)
  const one = await join({ port }, { key: 'k', instanceId: 'one' })
  await join({ port }, { key: 'k', instanceId: 'two' })
  await eventually(async () => expect(await instancesOf(center)).toEqual(['one', 'two']))
  const changes: string[] = []
  center.orchestrator.on('change', ({ type }) => void changes.push(type))
  const past = performance.now() + 2_500
  await eventually(() => expect(performance.now()).toBeGreaterThan(past))
  expect(await instancesOf(center)).toEqual(['one', 'two'])
  expect(changes).toEqual([])
  expect(one.registration.lastPing).toBeInstanceOf(Date)
  await one.close()
  expect(await instancesOf(center)).toEqual(['two'])
})

it('an orchestrator that is restarted empty has everybody back by itself', async () => {
  const port = await freePort()
  const first = await serve({ ttl: 1_000 }, port)
  const services = await Promise.all(
    Array.from({ length: 20 }, (_, i) => join({ port }, { instanceId: `i-${i}` }))
  )
  await eventually(async () => expect(await instancesOf(first)).toHaveLength(20))
  await first.close()
  await eventually(() => expect(services.every((app) => app.registration.failures > 0)).toBe(true))
  const second = await serve({ ttl: 1_000 }, port)
  await eventually(async () => expect(await instancesOf(second)).toHaveLength(20))
})

it('the predecessor of an instance that was taken over stops, and does not fight', async () => {
  const center = await serve({ ttl: 1_000 })
  const port = portOf(center)
  const old = await join({ port }, { instanceId: 'fixed' })
  await eventually(() => expect(old.registration.state).toBe('registered'))
  const successor = await join({ port }, { instanceId: 'fixed' })
  await eventually(() => expect(old.registration.state).toBe('rejected'))
  expect(old.registration.orchestrators[0]?.error).toMatch(/409/)
  await old.close()
  expect(await instancesOf(center)).toEqual(['fixed'])
  expect(successor.registration.state).toBe('registered')
})

it('works below a prefix of the app around it, as the answered ping_url does', async () => {
  const app = Fastify()
  await app.register(
    async (scope) => {
      await scope.register(orchestrator, { prefix: '/services', ttl: 1_000 })
    },
    { prefix: '/v2' }
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  apps.push(app)
  const service = await join({ port: portOf(app), path: '/v2/services' })
  await eventually(() => expect(service.registration.lastPing).toBeInstanceOf(Date))
})

it('keeps as suspect what is overdue together, says so, and lets it go when the grace is over', async () => {
  const ttl = 1_000
  const store = memoryLeases({ namespace: crypto.randomUUID(), ttl, grace: 1_500 })
  const lines: string[] = []
  const app = Fastify({
    logger: { level: 'warn', stream: { write: (line: string) => void lines.push(line) } }
  })
  await app.register(orchestrator, { store })
  await app.listen({ port: 0, host: '127.0.0.1' })
  apps.push(app)
  for (let i = 0; i < 20; i++) {
    const payload = { id: `s-${i}`, url: 'http://a', info: {} }
    await app.inject({ method: 'POST', url: '/services/$register', payload })
  }
  const count = async (status: string): Promise<number> =>
    (await app.inject(`/services?status=${status}`)).json().count
  expect(await count('alive')).toBe(20)
  await eventually(async () => expect(await count('suspect')).toBe(16))
  expect(lines.filter((line) => line.includes('kept as suspect'))).toHaveLength(16)
  const payload = { id: 's-19', url: 'http://a', info: {} }
  await app.inject({ method: 'POST', url: '/services/$register', payload })
  expect(await count('alive')).toBe(1)
  await eventually(async () => expect(await count('suspect')).toBe(0))
})
