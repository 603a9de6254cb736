import Fastify, { type FastifyInstance } from 'fastify'
import { memoryLeases } from '@muster/leases'
import { rawRequest } from '@muster/testkit'
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest'
import orchestrator, { type Orchestrator, type OrchestratorOptions } from '../src/index.ts'
import { BILLING, register, send, startOrchestrator } from './raw-client.ts'

let app: FastifyInstance
let port: number

async function start(options: OrchestratorOptions = {}): Promise<void> {
  const started = await startOrchestrator(options)
  app = started.app
  port = started.port
}

afterEach(() => app?.close())

describe('a payload', () => {
  it.each([
    ['no url', { url: undefined }, 'url', /required/],
    ['no info', { info: undefined }, 'info', /required/],
    ['an id that is no slug', { id: 'Billing API' }, 'id', /pattern/],
    ['an id that is a path', { id: '../../etc' }, 'id', /pattern/],
    ['an id of __proto__', { id: '__proto__' }, 'id', /pattern/],
    ['an id too long', { id: 'a'.repeat(129) }, 'id', /fewer than 128|more than 128/],
    ['an id in info that is no slug', { id: undefined, info: { id: 'A B' } }, 'info.id', /pattern/],
    ['an info that is a text', { info: 'billing' }, 'info', /object/],
    ['a url that is none', { url: 'billing:8080' }, 'url', /pattern/],
    ['a url of another scheme', { url: 'file:///etc/passwd' }, 'url', /pattern/],
    ['an instance_id with a slash', { instance_id: 'a/b' }, 'instance_id', /pattern/],
    ['an incarnation with a space', { incarnation: 'a b' }, 'incarnation', /pattern/]
  ])('with %s is answered 422 and the field', async (_, fields, field, message) => {
    await start()
    const answer = await register(port, fields)
    expect(answer.status).toBe(422)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(JSON.parse(answer.body)).toMatchObject({
      title: 'Unprocessable Entity',
      status: 422,
      code: 'MUSTER_ERR_PAYLOAD',
      errors: [{ field, message: expect.stringMatching(message) }]
    })
    expect(JSON.parse((await send(port, 'GET', '/services')).body).count).toBe(0)
  })

  it('without any id is answered 422', async () => {
    await start()
    const answer = await register(port, { id: undefined, info: {} })
    expect(answer.status).toBe(422)
    expect(JSON.parse(answer.body).detail).toMatch(/^id: /)
  })

  it.each([
    ['no JSON', '{"id":', 400],
    ['a list', '[]', 422],
    ['nothing', '', 422],
    ['__proto__ as a key', '{"id":"a","url":"http://a","info":{"__proto__":{"admin":1}}}', 400],
    ['more than 64 KiB', JSON.stringify({ ...BILLING, info: { x: 'x'.repeat(70_000) } }), 413],
    [
      'a nesting of 20,000',
      `{"id":"a","url":"http://a","info":{"x":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`,
      422
    ]
  ])('of %s is answered as a problem', async (_, body, status) => {
    await start()
    const answer = await send(port, 'POST', '/services/$register', { body })
    expect(answer.status).toBe(status)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(JSON.parse(answer.body)).toMatchObject({ status, detail: expect.any(String) })
    expect(({} as { admin?: unknown }).admin).toBeUndefined()
  })

  it('of a type that is not JSON is answered 415', async () => {
    await start()
    const answer = await rawRequest(
      port,
      'POST /services/$register HTTP/1.1\r\nhost: a\r\ncontent-type: application/xml\r\ncontent-length: 4\r\n\r\n<a/>'
    )
    expect(answer.status).toBe(415)
  })
})

describe('a path', () => {
  it.each([
    ['GET', '/services/..%2f..%2fetc%2fpasswd'],
    ['GET', '/services/__proto__'],
    ['GET', '/services/constructor'],
    ['DELETE', '/services/..%2fbilling'],
    ['PUT', '/services/..%2fbilling/$ping'],
    ['GET', '/services/billing%00'],
    ['GET', '/services/billing/nothing/here'],
    ['PATCH', '/services/billing']
  ])('%s %s finds nothing', async (method, path) => {
    await start()
    await register(port)
    const answer = await send(port, method, path)
    expect([400, 404, 422]).toContain(answer.status)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect((await send(port, 'GET', '/services/billing')).status).toBe(200)
  })
})

describe('a key', () => {
  const keyed = (value: string) => ({ body: BILLING, headers: `x-service-key: ${value}\r\n` })

  it('is needed to write where one is set, in either header; several are good while they rotate', async () => {
    await start({ key: ['old-key', 'new-key'] })
    const none = await register(port)
    expect(none).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer' } })
    expect(JSON.parse(none.body)).toMatchObject({ code: 'MUSTER_ERR_SERVICE_KEY', status: 401 })
    const path = '/services/$register'
    expect((await send(port, 'POST', path, keyed('nope'))).status).toBe(401)
    expect((await send(port, 'POST', path, keyed('old-key'))).status).toBe(201)
    expect((await send(port, 'POST', path, keyed('new-key'))).status).toBe(200)
    const headers = 'authorization: Bearer new-key\r\n'
    expect((await send(port, 'PUT', '/services/billing/$ping', { headers })).status).toBe(200)
    expect((await send(port, 'PUT', '/services/billing/$ping')).status).toBe(401)
    expect((await send(port, 'DELETE', '/services/billing')).status).toBe(401)
    expect((await send(port, 'GET', '/services')).status).toBe(200)
    expect((await send(port, 'DELETE', '/services/billing', { headers })).status).toBe(204)
  })

  it('is needed to read where a readKey is set; the writers may read as well', async () => {
    await start({ key: 'write-key', readKey: 'read-key' })
    for (const path of [
      '/services',
      '/services/billing',
      '/services/$events',
      '/services/b/run/x'
    ]) {
      expect((await send(port, 'GET', path)).status).toBe(401)
    }
    const as = (key: string) => ({ headers: `x-service-key: ${key}\r\n` })
    expect((await send(port, 'GET', '/services', as('read-key'))).status).toBe(200)
    expect((await send(port, 'GET', '/services', as('write-key'))).status).toBe(200)
    const write = { ...as('read-key'), body: BILLING }
    expect((await send(port, 'POST', '/services/$register', write)).status).toBe(401)
  })

  it('is asked for before a body is read', async () => {
    await start({ key: 'k' })
    const headers = 'content-type: application/json\r\ncontent-length: 1000000\r\n'
    expect((await send(port, 'POST', '/services/$register', { headers })).status).toBe(401)
  })
})

describe('an option', () => {
  it.each([
    [{ ttl: 10 }, /option "ttl": .*received 10/],
    [{ ttl: '30s' }, /option "ttl"/],
    [{ prefix: 'services' }, /option "prefix"/],
    [{ store: {} }, /option "store": expected a store/],
    [{ proxy: { timeout: 0 } }, /option "proxy.timeout"/],
    [{ keys: 'a' }, /unknown option "keys"/],
    [
      { store: memoryLeases({ ttl: 5_000 }), ttl: 6_000 },
      /option "ttl": 6000, but that of the given store is 5000/
    ]
  ])('like %o is refused by name', async (options, message) => {
    const refused = Fastify()
    refused.register(orchestrator, options as OrchestratorOptions)
    await expect(refused.ready()).rejects.toThrow(message)
    await expect(refused.ready()).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
  })

  it.each([{ key: 'my secret' }, { key: ['ok', 'my\nsecret'] }, { readKey: 123456 }])(
    'like %o is refused without being shown',
    async (options) => {
      const refused = Fastify()
      refused.register(orchestrator, options as OrchestratorOptions)
      const error = await Promise.resolve(refused.ready()).catch((err: Error) => err)
      expect(error).toMatchObject({ code: 'MUSTER_ERR_OPTION' })
      expect((error as Error).message).not.toMatch(/secret|123456/)
    }
  )

  it('has its types', () => {
    const typed = Fastify()
    void (() => {
      typed.register(orchestrator)
      typed.register(orchestrator, { key: ['a', 'b'], ttl: 30_000 })
      // @ts-expect-error wrong type
      typed.register(orchestrator, { ttl: '30s' })
      // @ts-expect-error unknown option
      typed.register(orchestrator, { keys: 'a' })
    })
    expectTypeOf(typed.orchestrator).toEqualTypeOf<Orchestrator>()
  })
})
