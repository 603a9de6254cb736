import { Writable } from 'node:stream'
import swagger from '@fastify/swagger'
import { rawRequest, startFixture } from '@muster/testkit'
import fastify, { type FastifyInstance } from 'fastify'
import { describe, expect, test } from 'vitest'
import cancellation from '../src/index.ts'
import { listen } from './listen.ts'

const ROUTE = {
  schema: {
    body: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
    response: {
      200: { type: 'object', properties: { seen: { type: 'object', additionalProperties: true } } }
    }
  }
} as const

/** An app that shows all it knows of a request: its document, what it serialises, what it logs. */
async function show(withPlugin: boolean) {
  const log: unknown[] = []
  const stream = new Writable({
    write(line, _, done) {
      const {
        time: _t,
        pid: _p,
        hostname: _h,
        responseTime: _r,
        msg,
        ...rest
      } = JSON.parse(String(line))
      delete rest.req?.remotePort
      delete rest.request?.raw
      if (!String(msg).startsWith('Server listening')) log.push({ msg, ...rest })
      done()
    }
  })
  const app: FastifyInstance = fastify({
    genReqId: () => 'id',
    logger: {
      stream,
      serializers: { request: (request: object) => ({ ...request, raw: 0, log: 0 }) }
    }
  }) as never
  await app.register(swagger, { openapi: { info: { title: 'x', version: '1' } } })
  if (withPlugin) await app.register(cancellation)
  app.post('/', ROUTE, async (request) => {
    if (withPlugin && request.cancellation.signal.aborted) throw new Error('cancelled')
    request.log.info({ request }, 'all of it')
    const { raw: _, log: _l, ...seen } = request as unknown as Record<string, unknown>
    return { seen }
  })
  const port = await listen(app)
  const body = JSON.stringify({ name: 'x', cancellation: { cancelled: true } })
  const response = await rawRequest(
    port,
    `POST /?cancellation=1 HTTP/1.1\r\nhost: x\r\ncancellation: 1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  )
  await app.close()
  const { date: _, ...headers } = response.headers
  return { document: app.swagger(), response: { ...response, headers }, log }
}

describe('with the plugin', () => {
  test('the OpenAPI document, what is serialised and what is logged are as without', async () => {
    const bare = await show(false)
    expect(bare.response.status).toBe(200)
    expect(bare.log.length).toBeGreaterThan(2)
    expect(await show(true)).toEqual(bare)
  })

  test('a field called cancellation is required or not as the schema says, and replaces nothing', async () => {
    const app = fastify()
    await app.register(cancellation)
    app.post('/', ROUTE, async (request) => {
      expect(request.body).toEqual({ name: 'x', cancellation: { cancelled: true } })
      expect(request.query).toEqual({ cancellation: '1' })
      return { seen: { cancelled: request.cancellation.cancelled } }
    })
    const url = '/?cancellation=1'
    const headers = { cancellation: '1' }
    const payload = { name: 'x', cancellation: { cancelled: true } }
    const { body } = await app.inject({ method: 'POST', url, headers, payload })
    expect(JSON.parse(body)).toEqual({ seen: { cancelled: false } })
    const { statusCode } = await app.inject({ method: 'POST', url, payload: { cancellation: 1 } })
    expect(statusCode).toBe(400)
    await app.close()
  })

  test('inject() sees no cancellation by completing', async () => {
    const app = fastify()
    await app.register(cancellation)
    let token: { cancelled: boolean; signal: AbortSignal } | undefined
    app.post('/', async (request) => {
      token = request.cancellation
      return { cancelled: token.signal.aborted }
    })
    const { body } = await app.inject({ method: 'POST', url: '/', payload: { a: 1 } })
    expect(body).toBe('{"cancelled":false}')
    await app.close()
    expect(token?.cancelled).toBe(false)
  })
})

test('nothing is retained of 50,000 finished requests', { timeout: 60_000 }, async () => {
  const fixture = startFixture(new URL('./fixtures/heap.js', import.meta.url), {
    execArgv: ['--expose-gc']
  })
  const [, bytes] = await fixture.waitFor(/retained (\S+)/, 50_000)
  expect(Number(bytes)).toBeLessThan(8)
  expect((await fixture.exited).code).toBe(0)
})
