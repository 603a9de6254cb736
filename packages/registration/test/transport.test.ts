import { readFileSync } from 'node:fs'
import { eventually } from '@muster/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import { type ForeignOrchestrator, foreignOrchestrator } from './foreign-orchestrator.ts'
import { type Service, startService } from './service.ts'

const pem = (name: string): Buffer =>
  readFileSync(new URL(`fixtures/tls/${name}.pem`, import.meta.url))
const tls = { key: pem('key'), cert: pem('cert') }
let orchestrator: ForeignOrchestrator
let service: Service

afterEach(async () => {
  await service.app.close()
  await orchestrator.close()
})

describe('https', () => {
  it('trusts a private CA that it is given, for all three requests', async () => {
    orchestrator = await foreignOrchestrator({ tls })
    service = await startService({ url: orchestrator.url, ca: pem('ca'), ping: { interval: 60 } })
    await orchestrator.requests('PUT')
    await service.app.close()
    expect(orchestrator.received.at(0)?.method).toBe('POST')
    expect(orchestrator.received.at(-1)?.method).toBe('DELETE')
  })

  it('contrast: tells nothing to a server whose certificate it does not trust', async () => {
    orchestrator = await foreignOrchestrator({ tls })
    service = await startService({ url: orchestrator.url, key: 'k-secret', retry: { min: 50 } })
    await service.state('registering')
    await eventually(() => expect(service.app.registration.failures).toBeGreaterThan(1))
    expect(orchestrator.received).toEqual([])
    expect(service.said(/certificate/)).toHaveLength(1)
  })

  it('pings by https where a TLS proxy made the answer say http', async () => {
    orchestrator = await foreignOrchestrator({ tls })
    // Its default answer says http://127.0.0.1:<port>.
    service = await startService({ url: orchestrator.url, ca: pem('ca'), ping: { interval: 60 } })
    const [ping] = await orchestrator.requests('PUT')
    expect(ping?.path).toMatch(/^\/v2\/services\/.*\/\$ping$/)
    expect(service.app.registration.state).toBe('registered')
  })
})

it('registers over IPv6 and advertises an IPv6 address in brackets', async () => {
  orchestrator = await foreignOrchestrator({ host: '::1' })
  service = await startService(orchestrator.url, { host: '::1' })
  const [post] = await orchestrator.requests('POST')
  expect(post?.headers['host']).toBe(`[::1]:${orchestrator.port}`)
  expect(JSON.parse(post?.body ?? '').url).toMatch(/^http:\/\/\[::1\]:\d+$/)
})

it('opens a connection for each request, which an idle timeout over there cannot cut', async () => {
  orchestrator = await foreignOrchestrator()
  service = await startService({ url: orchestrator.url, ping: { interval: 60 } })
  for (const { headers } of await orchestrator.requests('PUT', 3)) {
    expect(headers['connection']).toBe('close')
  }
})

it('sends further headers that it is given', async () => {
  orchestrator = await foreignOrchestrator()
  const headers = { authorization: 'Bearer my-token', 'x-tenant': 'blue' }
  service = await startService({ url: orchestrator.url, headers, ping: { interval: 60 } })
  const [ping] = await orchestrator.requests('PUT')
  expect(ping?.headers).toMatchObject(headers)
  expect(ping?.headers).not.toHaveProperty('content-type')
})
