import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { type ForeignOrchestrator, foreignOrchestrator, respond } from './foreign-orchestrator.ts'
import { type Service, startService } from './service.ts'

let orchestrator: ForeignOrchestrator
let service: Service

afterEach(async () => {
  await service?.app.close()
  await orchestrator?.close()
})

describe('on the wire', () => {
  it('posts who it is, pings without a body and deletes by the answered id', async () => {
    orchestrator = await foreignOrchestrator()
    service = await startService({
      url: orchestrator.url,
      key: 'k-3721',
      service: 'billing',
      instanceId: 'b-1',
      info: { display_name: 'Billing', period_type: 'monthly', model_metadata: { author: 'me' } },
      ping: { interval: 100 }
    })
    const [post] = await orchestrator.requests('POST')
    const [ping] = await orchestrator.requests('PUT')
    const { port } = service.app.addresses()[0] as AddressInfo
    await service.app.close()
    const [left] = await orchestrator.requests('DELETE')

    const { incarnation, version } = service.app.readiness.identity
    const host = `127.0.0.1:${orchestrator.port}`
    const common = [
      'accept: application/json',
      'user-agent: muster-registration',
      'x-muster-instance: b-1',
      `x-muster-incarnation: ${incarnation}`,
      'x-service-key: k-3721'
    ]
    const body = JSON.stringify({
      id: 'billing',
      url: `http://127.0.0.1:${port}`,
      info: {
        id: 'billing',
        display_name: 'Billing',
        version,
        description: null,
        period_type: 'monthly',
        model_metadata: { author: 'me' }
      },
      instance_id: 'b-1',
      incarnation
    })
    expect(lines(post)).toEqual([
      'POST /v2/services/$register HTTP/1.1',
      ...common,
      'content-type: application/json',
      `content-length: ${body.length}`,
      `Host: ${host}`,
      'Connection: close',
      '',
      body
    ])
    expect(lines(ping)).toEqual([
      'PUT /v2/services/billing/$ping HTTP/1.1',
      ...common,
      `Host: ${host}`,
      'Connection: close',
      'Content-Length: 0',
      '',
      ''
    ])
    expect(lines(left)).toEqual([
      'DELETE /v2/services/billing HTTP/1.1',
      ...common,
      `Host: ${host}`,
      'Connection: close',
      '',
      ''
    ])
  })

  it.each([
    ['200', respond(200, { id: 'billing', ttl_seconds: 0.6 })],
    ['201', respond(201, { id: 'billing', ttl_seconds: 0.6 })],
    ['204 without a body', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['200 with an empty body', respond(200)],
    ['200 with what is no JSON', respond(200, '<html>ok</html>')],
    ['200 with JSON that is no object', respond(200, '"ok"')],
    ['200 with an id that is no text', respond(200, { id: 7, ping_url: 7 })],
    ['200 with a body that ends early', 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"id"']
  ])('takes %s for registered and falls back on its own id', async (_, answer) => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }, socket) => {
      if (method !== 'POST') return undefined
      socket.end(answer)
      return ''
    })
    service = await startService({
      url: orchestrator.url,
      service: 'billing',
      ping: { interval: 60 }
    })
    await service.state('registered')
    const [ping] = await orchestrator.requests('PUT')
    expect(ping?.path).toBe('/v2/services/billing/$ping')
    await service.app.close()
    const [left] = await orchestrator.requests('DELETE')
    expect(left?.path).toBe('/v2/services/billing')
    expect(orchestrator.received.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })

  it.each([
    ['relative to the register URL', '/elsewhere/b/$ping', '/elsewhere/b/$ping'],
    ['relative without a slash', 'b/$ping?x=1', '/v2/services/b/$ping?x=1'],
    ['with %24', '/v2/services/b/%24ping', '/v2/services/b/%24ping'],
    ['wrong in scheme', 'https://127.0.0.1/v2/services/b/$ping', '/v2/services/b/$ping'],
    ['absent', undefined, '/v2/services/given-id/$ping'],
    ['no URL', 'http://[', '/v2/services/given-id/$ping'],
    ['not http', 'file:///etc/passwd', '/v2/services/given-id/$ping']
  ])('pings where the answer says: ping_url %s', async (_, ping_url, path) => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }) =>
      method === 'POST' ? respond(200, { id: 'given-id', ttl_seconds: 0.3, ping_url }) : undefined
    )
    service = await startService(orchestrator.url)
    const [ping] = await orchestrator.requests('PUT')
    expect(ping?.path).toBe(path)
    expect(ping?.headers['host']).toBe(`127.0.0.1:${orchestrator.port}`)
    await service.app.close()
    const [left] = await orchestrator.requests('DELETE')
    expect(left?.path).toBe('/v2/services/given-id')
  })

  it('pings another host when the answer names one', async () => {
    const pingHost = await foreignOrchestrator({ host: '127.0.0.2' })
    orchestrator = await foreignOrchestrator()
    const ping_url = `http://127.0.0.2:${pingHost.port}/p`
    orchestrator.answer(({ method }) =>
      method === 'POST' ? respond(200, { id: 'b', ttl_seconds: 0.3, ping_url }) : undefined
    )
    service = await startService(orchestrator.url)
    const [ping] = await pingHost.requests('PUT')
    expect(ping?.path).toBe('/p')
    await pingHost.close()
  })

  it('pings where and as often as the option says, whatever the answer', async () => {
    orchestrator = await foreignOrchestrator()
    const url = new URL('/mine/ping', orchestrator.url)
    service = await startService({ url: orchestrator.url, ping: { url, interval: 50 } })
    const pings = await orchestrator.requests('PUT', 3)
    expect(pings.map(({ path }) => path)).toEqual(['/mine/ping', '/mine/ping', '/mine/ping'])
  })

  it('pings at a third of the answered TTL, one at a time', async () => {
    orchestrator = await foreignOrchestrator()
    let underWay = 0
    orchestrator.answer(async ({ method }) => {
      if (method === 'POST') return respond(200, { id: 'b', ttl_seconds: 0.6 })
      expect(++underWay).toBe(1)
      await new Promise((resolve) => setTimeout(resolve, 50))
      underWay--
      return undefined
    })
    service = await startService(orchestrator.url)
    const pings = await orchestrator.requests('PUT', 6)
    const gaps = pings.slice(1).map(({ at }, i) => at - (pings[i]?.at ?? 0))
    for (const gap of gaps) expect(gap).toBeGreaterThan(50 + 200 * 0.9 - 5)
    expect(gaps.toSorted((a, b) => a - b)[2]).toBeLessThan(50 + 200 * 1.1 + 150)
    expect(service.app.registration.lastPing).toBeInstanceOf(Date)
  })

  it.each([404, 410])(
    'registers again with the same bytes when a ping is answered %i',
    async (status) => {
      orchestrator = await foreignOrchestrator()
      let known = true
      orchestrator.answer(({ method }) => {
        if (method === 'POST') known = true
        if (method === 'POST') return respond(200, { id: 'b', ttl_seconds: 0.3 })
        return method === 'PUT' && !known ? respond(status, { detail: 'unknown' }) : undefined
      })
      const info = { display_name: 'Billing', nested: { a: [1, null, 'x'] } }
      service = await startService({ url: orchestrator.url, info, retry: { min: 50 } })
      await orchestrator.requests('PUT', 1)
      known = false
      const [first, second] = await orchestrator.requests('POST', 2)
      expect(JSON.parse(first?.body ?? '').info).toMatchObject(info)
      expect(second?.bytes).toBe(first?.bytes)
      await service.state('registered')
      expect(service.said(/does not know us/)).toHaveLength(1)
    }
  )

  it('calls the info function for each registration', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method }) => (method === 'PUT' ? respond(404) : undefined))
    let load = 0
    service = await startService({
      url: orchestrator.url,
      info: () => ({ load: load++ }),
      ping: { interval: 50 },
      retry: { min: 50 }
    })
    const posts = await orchestrator.requests('POST', 3)
    expect(posts.map(({ body }) => JSON.parse(body).info.load)).toEqual([0, 1, 2])
    expect(service.app.registration.info).toHaveProperty('load')
  })

  it('follows a redirect to the same origin with the same request', async () => {
    orchestrator = await foreignOrchestrator()
    orchestrator.answer(({ method, path }) => {
      const slash = method === 'POST' && !path.endsWith('/')
      return slash ? respond(307, '', `location: ${path}/\r\n`) : undefined
    })
    service = await startService(orchestrator.url)
    const [first, second] = await orchestrator.requests('POST', 2)
    expect(second?.path).toBe('/v2/services/$register/')
    expect(second?.body).toBe(first?.body)
    await service.state('registered')
  })

  it.each([301, 302, 307, 308])(
    'takes nothing to another origin that a %i names',
    async (status) => {
      const other = await foreignOrchestrator()
      orchestrator = await foreignOrchestrator()
      orchestrator.answer(() => respond(status, '', `location: ${other.url}\r\n`))
      service = await startService({ url: orchestrator.url, key: 'secret-key' })
      await service.state('rejected')
      expect(service.said(/answered 30\d to http/)).toHaveLength(1)
      expect(other.received).toEqual([])
      await other.close()
    }
  )
})

function lines(request: { bytes: string } | undefined): string[] | undefined {
  return request?.bytes.split('\r\n')
}
