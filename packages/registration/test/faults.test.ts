import { eventually, freePort } from '@muster/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type ForeignOrchestrator,
  foreignOrchestrator,
  respond,
  silence
} from './foreign-orchestrator.ts'
import { type Service, startService } from './service.ts'

const retry = { min: 50, max: 200 }
let orchestrator: ForeignOrchestrator
let service: Service

afterEach(async () => {
  await service?.app.close()
  await orchestrator?.close()
})

describe('an orchestrator that is not there', () => {
  it('is waited for as long as it takes, with one line in the log and one when it is there', async () => {
    const port = await freePort()
    service = await startService({ url: `http://127.0.0.1:${port}/v2/services/$register`, retry })
    await service.state('registering')
    await eventually(() => expect(service.app.registration.failures).toBeGreaterThan(8))
    expect(service.app.registration.nextAttempt).toBeInstanceOf(Date)
    expect(service.said(/ECONNREFUSED/)).toHaveLength(1)

    orchestrator = await foreignOrchestrator({ port })
    const back = performance.now()
    await service.state('registered')
    expect(performance.now() - back).toBeLessThan(retry.max + 300)
    expect(service.app.registration.failures).toBe(0)
    expect(service.said(/^registered/)).toHaveLength(1)
  })

  it('backs off with full jitter: attempts spread between nothing and the cap', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(() => respond(503))
    service = await startService({ url: orchestrator.url, retry: { min: 100, max: 400 } })
    const posts = await orchestrator.requests('POST', 12)
    const gaps = posts.slice(1).map(({ at }, i) => at - (posts[i]?.at ?? 0))
    expect(Math.max(...gaps)).toBeLessThan(400 + 300)
    expect(new Set(gaps.map((gap) => Math.round(gap / 20))).size).toBeGreaterThan(3)
  })

  it('comes back by itself after an outage longer than the TTL: lost, then registered', async () => {
    const port = await freePort()
    const short = { id: 'b', ttl_seconds: 0.3, ping_url: '/v2/services/b/$ping' }
    orchestrator = await foreignOrchestrator({ port })
    orchestrator.answer(({ method }) => (method === 'POST' ? respond(200, short) : undefined))
    service = await startService({ url: orchestrator.url, retry })
    await orchestrator.requests('PUT')
    await orchestrator.close()
    await service.state('lost')
    await eventually(() => expect(service.app.registration.failures).toBeGreaterThan(5))
    expect(service.said(/trying again/)).toHaveLength(1)

    orchestrator = await foreignOrchestrator({ port })
    orchestrator.answer(({ method }) => (method === 'PUT' ? respond(404) : respond(200, short)))
    await orchestrator.requests('POST')
    await service.state('registered')
    expect(service.said(/^registered/)).toHaveLength(2)
  })
})

describe('an orchestrator that refuses', () => {
  it.each([401, 403, 422])(
    'with %i is a matter of configuration: told once with the body, tried again slowly',
    async (status) => {
      orchestrator = await foreignOrchestrator()
      const why = { detail: [{ loc: ['info', 'period_type'], msg: 'missing' }], key: 'k-secret-1' }
      orchestrator.answer(() => respond(status, why))
      service = await startService({ url: orchestrator.url, key: 'k-secret-1', retry })
      await service.state('rejected')
      const posts = await orchestrator.requests('POST', 4)
      const gaps = posts.slice(1).map(({ at }, i) => at - (posts[i]?.at ?? 0))
      expect(Math.min(...gaps)).toBeGreaterThan(retry.max * 0.9 - 5)
      const told = service.said(new RegExp(`answered ${status}`))
      expect(told).toHaveLength(1)
      expect(told[0]?.msg).toContain('"period_type"')
      expect(JSON.stringify(service.lines)).not.toContain('k-secret-1')
      expect(JSON.stringify(service.app.readiness.report())).not.toContain('k-secret-1')

      orchestrator.answer(() => undefined)
      await service.state('registered')
    }
  )

  it.each([
    ['seconds', () => '1'],
    ['a date', () => new Date(Date.now() + 2_000).toUTCString()]
  ])('with 429 and Retry-After in %s gets that long', async (_, header) => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(() => respond(429, '', `retry-after: ${header()}\r\n`))
    service = await startService({ url: orchestrator.url, retry })
    const [first] = await orchestrator.requests('POST')
    orchestrator.answer(() => undefined)
    const [, second] = await orchestrator.requests('POST', 2)
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(950)
    await service.state('registered')
  })

  it('a ping with 401 is told once, and pings go on', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }) => (method === 'PUT' ? respond(401) : undefined))
    service = await startService({ url: orchestrator.url, retry, ping: { interval: 50 } })
    await service.state('rejected')
    await orchestrator.requests('PUT', 4)
    expect(service.said(/PUT .* answered 401/)).toHaveLength(1)
    orchestrator.answer(() => undefined)
    await service.state('registered')
    expect(service.said(/answers again/)).toHaveLength(1)
    expect(orchestrator.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })

  it('a ping with 409 has fenced us off: nothing is registered over the successor, until it is gone', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }) => (method === 'PUT' ? respond(409) : undefined))
    service = await startService({ url: orchestrator.url, retry, ping: { interval: 50 } })
    await service.state('rejected')
    await orchestrator.requests('PUT', 5)
    expect(orchestrator.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
    orchestrator.answer(({ method }) => (method === 'PUT' ? respond(404) : undefined))
    await orchestrator.requests('POST', 2)
  })
})

describe('answers from hell', () => {
  it('reads 64 KiB of a body of 10 MB and no more', async () => {
    orchestrator = await foreignOrchestrator()
    const huge = Buffer.alloc(10 * 1024 * 1024, 'x')
    let sent = 0
    orchestrator.answer(({ method }, socket) => {
      if (method !== 'POST') return undefined
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${huge.length}\r\n\r\n`)
      const more = (): void => {
        while (sent < huge.length && !socket.destroyed) {
          const part = huge.subarray(sent, sent + 65_536)
          sent += part.length
          if (!socket.write(part)) return void socket.once('drain', more)
        }
      }
      more()
      return ''
    })
    service = await startService({ url: orchestrator.url, retry, ping: { interval: 60 } })
    await service.state('registered')
    await orchestrator.requests('PUT', 2)
    expect(sent).toBeLessThan(huge.length)
    expect(orchestrator.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })

  it('waits for a body of a byte a second no longer than its timeout; the status has decided', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }, socket) => {
      if (method !== 'POST') return undefined
      socket.write('HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{')
      const timer = setInterval(() => socket.write(' '), 1_000)
      socket.once('close', () => clearInterval(timer))
      return ''
    })
    service = await startService({ url: orchestrator.url, timeout: 500, ping: { interval: 60 } })
    await service.state('registered')
    await orchestrator.requests('PUT', 2)
    expect(orchestrator.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })

  it.each([
    ['accepts and never answers', silence],
    ['sends garbage', () => 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['sends half a head', () => 'HTTP/1.1 200 OK\r\ncontent-'],
    ['answers 500', () => respond(500, { detail: 'Redis is down', error: 'x', type: 'y' })]
  ])(
    'is registered soon after one recovers that %s, with one line in the log',
    async (_, reply) => {
      orchestrator = await foreignOrchestrator()
      orchestrator.answer(reply)
      service = await startService({ url: orchestrator.url, timeout: 150, retry })
      await orchestrator.requests('POST', 4)
      expect(service.said(/trying again/)).toHaveLength(1)
      orchestrator.answer(() => undefined)
      const recovered = performance.now()
      await service.state('registered')
      expect(performance.now() - recovered).toBeLessThan(150 + retry.max + 300)
    }
  )

  it.each([0, -1, 1e12, '30', 'soon', null, undefined, Number.MAX_VALUE])(
    'pings at a sane rate with ttl_seconds %s',
    async (ttl_seconds) => {
      orchestrator = await foreignOrchestrator()
      orchestrator.answer(({ method }) =>
        method === 'POST' ? respond(200, { id: 'b', ttl_seconds }) : undefined
      )
      service = await startService(orchestrator.url)
      await service.state('registered')
      const next = Number(service.app.registration.nextAttempt) - Date.now()
      expect(next).toBeGreaterThan(8_000)
      expect(next).toBeLessThan(67_000)
    }
  )

  it('does not turn 404 to every ping into a storm', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }) =>
      method === 'PUT' ? respond(404) : respond(200, { id: 'b', ttl_seconds: 0.3 })
    )
    service = await startService({ url: orchestrator.url, retry })
    const posts = await orchestrator.requests('POST', 8)
    const spent = (posts.at(-1)?.at ?? 0) - (posts[0]?.at ?? 0)
    expect(spent).toBeGreaterThan(7 * 90 - 10)
    expect(service.said(/does not know us/)).toHaveLength(1)
    expect(service.said(/^registered/)).toHaveLength(1)
  })

  it('keeps pinging when the event loop was blocked for longer than the TTL', async () => {
    orchestrator = await foreignOrchestrator()
    let expired = false
    orchestrator.answer(({ method }) => {
      if (method === 'POST') return respond(200, { id: 'b', ttl_seconds: 0.3 })
      return expired ? respond(404) : undefined
    })
    service = await startService({ url: orchestrator.url, retry })
    await orchestrator.requests('PUT')
    const end = performance.now() + 600
    while (performance.now() < end);
    expired = true
    expect(await orchestrator.requests('POST', 2)).toHaveLength(2)
    expired = false
    await service.state('registered')
  })
})

it('does not let 200 services come back to an empty orchestrator in one moment', async () => {
  orchestrator = await foreignOrchestrator()
  const known = new Set<string>()
  orchestrator.answer(({ method, path, body }) => {
    const id = method === 'POST' ? String(JSON.parse(body).id) : String(path.split('/')[3])
    if (method === 'POST') {
      known.add(id)
      return respond(200, { id, ttl_seconds: 3, ping_url: `/v2/services/${id}/$ping` })
    }
    return known.has(id) ? undefined : respond(404)
  })
  const services: Service[] = []
  const { url } = orchestrator
  for (let i = 0; i < 200; i++) {
    services.push(await startService({ url, service: `service-${i}` }))
  }
  await eventually(() => expect(known.size).toBe(200))
  await orchestrator.requests('PUT', 200)
  known.clear()
  orchestrator.received.length = 0
  const posts = await orchestrator.requests('POST', 200)
  expect(known.size).toBe(200)
  const times = posts.map(({ at }) => at).toSorted((a, b) => a - b)
  // Forgotten together, back one after the other.
  expect((times[189] ?? 0) - (times[10] ?? 0)).toBeGreaterThan(300)
  await Promise.all(services.map(({ app }) => app.close()))
}, 30_000)
