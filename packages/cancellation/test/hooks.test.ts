import { once } from 'node:events'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable, Writable } from 'node:stream'
import websocket from '@fastify/websocket'
import { eventually, rawConnection, rawRequest } from '@muster/testkit'
import fastify, { type FastifyRequest } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import cancellation from '../src/index.ts'
import { listen } from './listen.ts'

const POST = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi'
const GET = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`

let app = fastify()

afterEach(() => app.close())

const untilCancelled = async ({ cancellation: { signal } }: FastifyRequest) => {
  await once(signal, 'abort')
  throw signal.reason
}

describe('when the client has left', () => {
  async function leave(ownHandler: boolean) {
    const log: { level: number; statusCode?: number; code?: string; err?: unknown }[] = []
    const seen: unknown[] = []
    const stream = new Writable({
      write(line, _, done) {
        log.push(JSON.parse(String(line)))
        done()
      }
    })
    app = fastify({ logger: { stream } }) as unknown as typeof app
    await app.register(cancellation)
    app.addHook('onError', async (_, __, error) => void seen.push(['onError', error.code]))
    app.addHook('onResponse', async () => void seen.push(['onResponse']))
    if (ownHandler) {
      app.setErrorHandler<Error & { code: string }>(async (error, _, reply) => {
        seen.push(['handler', error.code])
        return reply.code(500).send('to nobody')
      })
    }
    let working = false
    app.post('/', (request) => {
      working = true
      return untilCancelled(request)
    })
    const connection = await rawConnection(await listen(app))
    connection.write(POST)
    await eventually(() => expect(working).toBe(true))
    connection.destroy()
    await eventually(() => expect(seen.length).toBeGreaterThan(0))
    await app.close()
    return { log, seen }
  }

  test('it is logged as 499 at info, and nothing is sent', async () => {
    const { log, seen } = await leave(false)
    const lines = log.filter(({ code }) => code === 'MUSTER_ERR_CLIENT_GONE')
    expect(lines).toMatchObject([{ level: 30, statusCode: 499 }])
    expect(log.filter(({ level, err }) => level > 30 || err)).toEqual([])
    expect(seen).toEqual([['onError', 'MUSTER_ERR_CLIENT_GONE']])
  })

  test("the application's own handler is told", async () => {
    const { seen } = await leave(true)
    expect(seen).toEqual([
      ['onError', 'MUSTER_ERR_CLIENT_GONE'],
      ['handler', 'MUSTER_ERR_CLIENT_GONE']
    ])
  })
})

describe('over HTTP/2', () => {
  test('a shutdown is answered without the header that HTTP/2 forbids, and without a warning', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    app = fastify({ http2: true }) as never
    await app.register(cancellation)
    let working = false
    app.post('/', (request) => {
      working = true
      return untilCancelled(request)
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo
    const session = http2.connect(`http://127.0.0.1:${port}`)
    const stream = session.request({
      ':method': 'POST',
      ':path': '/',
      'content-type': 'text/plain'
    })
    stream.end('hi')
    await eventually(() => expect(working).toBe(true))
    const [[headers]] = await Promise.all([
      once(stream, 'response'),
      app.cancellation.shutdown('soft')
    ])
    let body = ''
    for await (const chunk of stream.setEncoding('utf8')) body += chunk
    expect(headers).toMatchObject({ ':status': 503, 'retry-after': '1' })
    expect(headers).not.toHaveProperty('connection')
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_SHUTDOWN' })
    session.close()
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })
})

describe('a hook', () => {
  test('may read the token, and what it throws because of it has the status too', async () => {
    app = fastify()
    await app.register(cancellation)
    let waiting = false
    app.addHook('onRequest', async (request) => {
      waiting = true
      await untilCancelled(request)
    })
    app.get('/', async () => 'done')
    const response = rawRequest(await listen(app), GET('/'))
    await eventually(() => expect(waiting).toBe(true))
    await app.cancellation.shutdown('soft')
    expect((await response).status).toBe(503)
  })

  test('that runs before the plugin is told to wait', async () => {
    app = fastify()
    app.addHook('onRequest', async (request) => void request.cancellation.cancelled)
    await app.register(cancellation)
    app.get('/', async () => 'done')
    const { status, body } = await rawRequest(await listen(app), GET('/'))
    expect(status).toBe(500)
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_TOO_EARLY' })
  })
})

test('a stream that a hook before the plugin sends is not touched', async () => {
  app = fastify()
  app.addHook('onRequest', async (_, reply) =>
    reply.type('text/event-stream').send(Readable.from(['data: 1\n\n']))
  )
  await app.register(cancellation)
  app.get('/', async () => 'done')
  expect((await rawRequest(await listen(app), GET('/'))).body).toBe('data: 1\n\n')
})

test('a route that was there before the plugin has the token, and the status of the reason', async () => {
  app = fastify()
  app.get('/', async ({ cancellation: token }) => token.throwIfCancelled())
  await app.register(cancellation)
  const port = await listen(app)
  await app.cancellation.shutdown('soft')
  const { status, body } = await rawRequest(port, GET('/'))
  expect(status).toBe(503)
  expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_SHUTDOWN' })
})

test('a handler for what is not found has the token too', async () => {
  app = fastify()
  await app.register(cancellation)
  app.setNotFoundHandler(async ({ cancellation: token }) => token.throwIfCancelled())
  const port = await listen(app)
  await app.cancellation.shutdown('soft')
  expect((await rawRequest(port, GET('/nowhere'))).status).toBe(503)
})

test('every way to write a route is covered: shorthand, HEAD of a GET, prefix', async () => {
  app = fastify()
  await app.register(cancellation)
  const handler = async ({ cancellation: token }: FastifyRequest) => token.throwIfCancelled()
  app.get('/short', handler)
  await app.register(async (child) => void child.get('/', handler), { prefix: '/child' })
  const port = await listen(app)
  await app.cancellation.shutdown('soft')
  for (const path of ['/short', '/child', '/child/']) {
    const { body } = await rawRequest(port, GET(path))
    expect(JSON.parse(body)).toMatchObject({ reason: 'shutdown' })
  }
  const head = await rawConnection(port)
  head.write('HEAD /short HTTP/1.1\r\nhost: x\r\n\r\n')
  await eventually(() => expect(head.received).toMatch(/^HTTP\/1.1 503 .*retry-after: 1/s))
  head.destroy()
})

test('a schema for 503 and a serializer of the route do not change what a client is told', async () => {
  app = fastify()
  await app.register(cancellation)
  const schema = {
    response: { 503: { type: 'object', properties: { other: { type: 'string' } } } }
  }
  app.get('/', { schema }, async ({ cancellation: token }, reply) => {
    reply.serializer(() => 'mine')
    token.throwIfCancelled()
  })
  const port = await listen(app)
  await app.cancellation.shutdown('soft')
  expect(JSON.parse((await rawRequest(port, GET('/'))).body)).toMatchObject({ started: false })
})

test('an injected WebSocket has a token', async () => {
  app = fastify()
  await app.register(cancellation)
  await app.register(websocket)
  let token: FastifyRequest['cancellation'] | undefined
  app.get('/', { websocket: true }, (socket, request) => {
    token = request.cancellation
    socket.send(String(token.signal.aborted))
  })
  await app.ready()
  const message = new Promise((resolve) => {
    const onInit = (socket: { on(event: string, listener: (data: unknown) => void): void }) =>
      socket.on('message', (data) => resolve(String(data)))
    void app
      .injectWS('/', {}, { onInit })
      .then((socket) => setTimeout(() => socket.terminate(), 100))
  })
  expect(await message).toBe('false')
})

test('registering it twice is refused', async () => {
  app = fastify()
  await app.register(cancellation)
  app.register(async (child) => {
    await child.register(cancellation)
  })
  await expect(app.ready()).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
})
