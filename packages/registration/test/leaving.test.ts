import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { eventually, freePort, startFixture } from '@muster/testkit'
import Fastify from 'fastify'
import { afterEach, describe, expect, it } from 'vitest'
import readiness from '@muster/readiness'
import { registration } from '../src/index.ts'
import {
  type ForeignOrchestrator,
  foreignOrchestrator,
  type Received,
  respond,
  silence
} from './foreign-orchestrator.ts'
import { type Service, startService } from './service.ts'

let orchestrator: ForeignOrchestrator
let service: Service

afterEach(async () => {
  await service?.app.close()
  await orchestrator?.close()
})

describe('on the way down', () => {
  it('deregisters while the service still accepts connections', async () => {
    orchestrator = await foreignOrchestrator()
    let reachable: boolean | undefined
    orchestrator.answer(async ({ method, body }) => {
      if (method === 'POST') return void (url = new URL(JSON.parse(body).url))
      if (method !== 'DELETE') return undefined
      const socket = connect(Number(url?.port), url?.hostname ?? '')
      reachable = await once(socket, 'connect').then(
        () => true,
        () => false
      )
      socket.destroy()
      return undefined
    })
    let url: URL | undefined
    service = await startService(orchestrator.url)
    await service.state('registered')
    await service.app.close()
    expect(reachable).toBe(true)
    expect(service.app.registration.state).toBe('left')
  })

  it('deletes what a registration that timed out may have left behind', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }) => (method === 'POST' ? silence() : undefined))
    service = await startService({ url: orchestrator.url, service: 'billing', timeout: 100 })
    await orchestrator.requests('POST')
    await eventually(() => expect(service.app.registration.failures).toBe(1))
    await service.app.close()
    const [left] = await orchestrator.requests('DELETE')
    expect(left?.path).toBe('/v2/services/billing')
  })

  it('tries again to delete what a late registration may bring', async () => {
    orchestrator = await foreignOrchestrator()
    let deletes = 0
    orchestrator.answer(({ method }) => {
      if (method === 'POST') return silence()
      return ++deletes === 1 ? respond(404) : undefined
    })
    service = await startService({ url: orchestrator.url, timeout: 100 })
    await eventually(() => expect(service.app.registration.failures).toBe(1))
    await service.app.close()
    expect(deletes).toBe(2)
  })

  it('waits for the registration in flight, then deletes by the id of its answer', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(async ({ method }) => {
      if (method !== 'POST') return undefined
      await pause(400)
      return respond(200, { id: 'given-id' })
    })
    service = await startService(orchestrator.url)
    await orchestrator.requests('POST')
    await service.app.close()
    const [left] = await orchestrator.requests('DELETE')
    expect(left?.path).toBe('/v2/services/given-id')
  })

  it('waits for the ping in flight before it deletes', async () => {
    orchestrator = await foreignOrchestrator()
    const order: string[] = []
    orchestrator.answer(async ({ method }) => {
      order.push(`${method} arrived`)
      if (method === 'PUT') await pause(200)
      order.push(`${method} answered`)
      return undefined
    })
    service = await startService({ url: orchestrator.url, ping: { interval: 400 } })
    await orchestrator.requests('PUT')
    await service.app.close()
    expect(order).toEqual([
      'POST arrived',
      'POST answered',
      'PUT arrived',
      'PUT answered',
      'DELETE arrived',
      'DELETE answered'
    ])
  })

  it('leaves nothing behind where pings and leaving race, 200 times', async () => {
    const entries = new Map<string, number>()
    let careless = 0
    orchestrator = await foreignOrchestrator()
    // Like servers whose ping writes the entry: one that overtakes the delete brings it back.
    orchestrator.answer(async ({ method, path, body }) => {
      const id = method === 'POST' ? String(JSON.parse(body).id) : String(path.split('/')[3])
      if (method === 'DELETE') return void entries.delete(id)
      if (method === 'PUT') await pause(5)
      if (method === 'PUT') careless++
      entries.set(id, Date.now())
      return undefined
    })
    const { url } = orchestrator
    for (let round = 0; round < 20; round++) {
      const services = await Promise.all(
        Array.from({ length: 10 }, (_, i) =>
          startService({ url, service: `s-${round}-${i}`, ping: { interval: 50 } })
        )
      )
      await orchestrator.requests('POST', (round + 1) * 10)
      await Promise.all(
        services.map(async ({ app }) => {
          await pause(Math.random() * 150)
          await app.close()
        })
      )
    }
    expect(careless).toBeGreaterThan(100)
    expect([...entries.keys()]).toEqual([])
  }, 30_000)

  it('ends a retry sleep at once', async () => {
    const port = await freePort()
    const url = `http://127.0.0.1:${port}/services/$register`
    service = await startService({ url, retry: { min: 60_000, max: 60_000 } })
    await eventually(() => expect(service.app.registration.failures).toBe(1))
    const start = performance.now()
    await service.app.close()
    expect(performance.now() - start).toBeLessThan(500)
  })

  it('is not held up by an orchestrator that has gone silent', async () => {
    orchestrator = await foreignOrchestrator()
    service = await startService({ url: orchestrator.url, ping: { interval: 1_000 } })
    await service.state('registered')
    orchestrator.answer(silence)
    await orchestrator.requests('PUT')
    const start = performance.now()
    await service.app.close()
    expect(performance.now() - start).toBeLessThan(3_000 + 500)
    expect(service.said(/perhaps not deregistered/)).toHaveLength(1)
  })

  it('says nothing to an orchestrator it never registered with', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(() => respond(422))
    service = await startService(orchestrator.url)
    await service.state('rejected')
    await service.app.close()
    expect(orchestrator.received.map(({ method }) => method)).toEqual(['POST'])
  })

  it('keeps its entry where "deregister" is false', async () => {
    orchestrator = await foreignOrchestrator()
    service = await startService({ url: orchestrator.url, deregister: false })
    await service.state('registered')
    await service.app.close()
    expect(orchestrator.received.map(({ method }) => method)).toEqual(['POST'])
  })

  it('takes 404, 410 and 409 for an entry that is no longer its own', async () => {
    for (const status of [404, 410, 409]) {
      orchestrator = await foreignOrchestrator()
      orchestrator.answer(({ method }) => (method === 'DELETE' ? respond(status) : undefined))
      service = await startService(orchestrator.url)
      await service.state('registered')
      await service.app.close()
      expect(orchestrator.received.map(({ method }) => method)).toEqual(['POST', 'DELETE'])
      await orchestrator.close()
    }
  })
})

describe('nothing leaves the process', () => {
  it('of an app that only injects', async () => {
    orchestrator = await foreignOrchestrator()
    const app = Fastify()
    await app.register(registration, orchestrator.url)
    await app.inject('/')
    expect(app.registration.state).toBe('waiting')
    await app.close()
    expect(orchestrator.received).toEqual([])
  })

  it('of an app that closes while it starts', async () => {
    orchestrator = await foreignOrchestrator()
    for (let round = 0; round < 20; round++) {
      const app = Fastify()
      await app.register(registration, orchestrator.url)
      void app.listen({ port: 0, host: '127.0.0.1' }).catch(() => {})
      await app.close()
    }
    expect(orchestrator.received).toEqual([])
  })

  it('without taking it back, whenever SIGTERM comes', async () => {
    orchestrator = await foreignOrchestrator()
    const script = new URL('fixtures/service.js', import.meta.url)
    const env = { MUSTER_ORCHESTRATOR_URL: orchestrator.url }
    const stopped = async (delay: number): Promise<void> => {
      const child = startFixture(script, { env })
      await pause(delay)
      child.signal('SIGTERM')
      await child.exited
    }
    for (let round = 0; round < 4; round++) {
      await Promise.all([1_500, 1_200, 900, 600].map((most) => stopped(Math.random() * most)))
    }
    const child = startFixture(script, { env })
    await child.waitFor(/"registered"/)
    child.signal('SIGTERM')
    await child.exited
    const count = (method: string): Received[] =>
      orchestrator.received.filter((request) => request.method === method)
    expect(count('POST').length).toBeGreaterThan(0)
    expect(count('DELETE')).toHaveLength(count('POST').length)
  }, 30_000)
})

it('a closing app whose budget is spent sends nothing more and breaks nothing', async () => {
  orchestrator = await foreignOrchestrator()
  service = await startService(orchestrator.url, {
    prepare: (app) => app.register(readiness, { withdrawTimeout: 200 })
  })
  await service.state('registered')
  orchestrator.answer(silence)
  const start = performance.now()
  await service.app.close()
  expect(performance.now() - start).toBeLessThan(2_000)
  await eventually(() => expect(service.app.registration.state).toBe('left'))
})
