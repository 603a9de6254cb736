import { once } from 'node:events'
import { Writable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { eventually, rawConnection, rawRequest, startFixture } from '@muster/testkit'
import fastify, { type FastifyReply, type FastifyRequest, type RouteOptions } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import cancellation from '../src/index.ts'
import { listen } from './listen.ts'

const POST =
  'POST /work HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi'

let app = fastify()

afterEach(() => app.close())

interface Line {
  level: number
  msg: string
  err?: { message: string; stack: string }
  [field: string]: unknown
}

/** An app with POST /work, the log it writes, and the requests its handler got. */
async function start(
  handler: (request: FastifyRequest, reply: FastifyReply) => unknown,
  {
    route = {},
    setup
  }: { route?: Partial<RouteOptions>; setup?: (server: typeof app) => void } = {}
) {
  const log: Line[] = []
  const requests: FastifyRequest[] = []
  const stream = new Writable({
    write(line, _, done) {
      log.push(JSON.parse(String(line)))
      done()
    }
  })
  app = fastify({ logger: { stream } }) as unknown as typeof app
  await app.register(cancellation)
  setup?.(app)
  app.route({
    method: 'POST',
    url: '/work',
    ...route,
    handler(request, reply) {
      requests.push(request)
      return handler(request, reply)
    }
  })
  const port = await listen(app)
  const started = (count: number) => eventually(() => expect(requests.length).toBe(count))
  return { port, log, requests, started }
}

const untilCancelled = async ({ cancellation: { signal } }: FastifyRequest) => {
  await once(signal, 'abort')
  throw signal.reason
}

const BODY = {
  statusCode: 503,
  code: 'MUSTER_ERR_SHUTDOWN',
  error: 'Service Unavailable',
  message: 'The server is shutting down',
  reason: 'shutdown',
  retryable: true,
  started: true
}

describe('a shutdown', () => {
  test('ends a POST with a body with 503 and says what a client needs to retry', async () => {
    const { port, log, started } = await start(untilCancelled)
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('soft')
    const { status, headers, body } = await response
    expect(status).toBe(503)
    expect(headers).toMatchObject({
      'retry-after': '1',
      connection: 'close',
      'content-type': 'application/json; charset=utf-8'
    })
    expect(JSON.parse(body)).toEqual(BODY)
    const line = log.find(({ code }) => code === 'MUSTER_ERR_SHUTDOWN')
    expect(line).toMatchObject({ level: 30, statusCode: 503, reason: 'shutdown', started: true })
    expect(log.filter(({ level, err }) => level > 30 || err)).toEqual([])
  })

  test('begins with app.close(), where nothing else announces it', async () => {
    const { port, started } = await start(untilCancelled)
    const response = rawRequest(port, POST)
    await started(1)
    const closed = app.close()
    expect((await response).status).toBe(503)
    await closed
  })

  test('is seen at once by a request that arrives later, which has not started', async () => {
    const { port } = await start(async (request) => request.cancellation.throwIfCancelled())
    await app.cancellation.shutdown('soft')
    expect(JSON.parse((await rawRequest(port, POST)).body)).toEqual({ ...BODY, started: false })
  })

  test('finds a request started that arrived before and looks for the first time afterwards', async () => {
    let go = () => {}
    const gone = new Promise<void>((resolve) => (go = resolve))
    const { port, started } = await start(async (request) => {
      await gone
      request.cancellation.throwIfCancelled()
    })
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('soft')
    go()
    expect(JSON.parse((await response).body)).toEqual(BODY)
  })

  test('leaves a handler alone that does not look', async () => {
    const { port, started } = await start(async () => {
      await pause(100)
      return 'done'
    })
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('hard')
    expect(await response).toMatchObject({ status: 200, body: 'done' })
  })

  test('cancels in the phase the route asks for', async () => {
    const seen: string[] = []
    const waiting: string[] = []
    const look = (name: string) => (request: FastifyRequest) => {
      waiting.push(name)
      request.cancellation.signal.addEventListener('abort', () => seen.push(name))
      return untilCancelled(request)
    }
    const { port } = await start(look('soft'), {
      setup(server) {
        for (const onShutdown of ['hard', 'never'] as const) {
          const config = { cancellation: { onShutdown } }
          server.get(`/${onShutdown}`, { config }, look(onShutdown))
        }
      }
    })
    const soft = rawRequest(port, POST)
    const hard = rawRequest(port, 'GET /hard HTTP/1.1\r\nhost: x\r\n\r\n')
    const never = await rawConnection(port)
    never.write('GET /never HTTP/1.1\r\nhost: x\r\n\r\n')
    await eventually(() => expect(waiting.length).toBe(3))
    await app.cancellation.shutdown('soft')
    expect((await soft).status).toBe(503)
    expect(seen).toEqual(['soft'])
    await app.cancellation.shutdown('hard')
    expect((await hard).status).toBe(503)
    expect(seen).toEqual(['soft', 'hard'])
    never.destroy()
    await eventually(() => expect(seen.length).toBe(3))
    expect(seen).toEqual(['soft', 'hard', 'never'])
  })
})

describe('what was thrown', () => {
  const throwing =
    (make: (signal: AbortSignal) => unknown) =>
    async ({ cancellation: { signal } }: FastifyRequest) => {
      await once(signal, 'abort')
      throw make(signal)
    }
  const because: Record<string, (signal: AbortSignal) => unknown> = {
    'the reason': (signal) => signal.reason,
    'an AbortError caused by the reason': (signal) =>
      Object.assign(new Error('aborted', { cause: signal.reason }), { name: 'AbortError' }),
    'an AbortError without a cause': () => new DOMException('aborted', 'AbortError'),
    'an error wrapped around the reason': (signal) =>
      new Error('render failed', { cause: new Error('inner', { cause: signal.reason }) }),
    'an AggregateError of reasons': (signal) => new AggregateError([signal.reason, signal.reason])
  }
  const genuine: Record<string, (signal: AbortSignal) => unknown> = {
    'a failure': () => new Error('genuine'),
    'an AbortError with another cause': () =>
      Object.assign(new Error('genuine', { cause: new Error('other') }), { name: 'AbortError' }),
    'an AggregateError with a failure in it': (signal) =>
      new AggregateError([signal.reason, new Error('other')], 'genuine')
  }

  test.each(Object.entries(because))('%s becomes 503', async (_, make) => {
    const { port, started } = await start(throwing(make))
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('soft')
    expect(JSON.parse((await response).body)).toEqual(BODY)
  })

  test.each(Object.entries(genuine))('%s stays a 500 with its stack', async (_, make) => {
    const { port, log, started } = await start(throwing(make))
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('soft')
    expect(await response).toMatchObject({ status: 500 })
    expect(log.find(({ level }) => level === 50)?.err).toMatchObject({
      message: expect.stringMatching(/^genuine/),
      stack: expect.stringContaining('shutdown.test.ts')
    })
  })

  test('a reason without a cancellation is a 500', async () => {
    let reason: unknown
    const { port, log } = await start(
      async (request) => {
        reason ??= request.cancellation.reason
        throw reason
      },
      {
        route: { config: { cancellation: { onShutdown: 'hard' } } },
        setup(server) {
          server.get('/keep', async (request) => void (reason = request.cancellation.reason))
        }
      }
    )
    await app.cancellation.shutdown('soft')
    await rawRequest(port, 'GET /keep HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(reason).toMatchObject({ code: 'MUSTER_ERR_SHUTDOWN' })
    const { status, body } = await rawRequest(port, POST)
    expect(status).toBe(500)
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_NOT_CANCELLED' })
    expect(log.find(({ level }) => level === 50)).toBeDefined()
  })
})

describe("the application's own error handler", () => {
  const AbortError = (signal: AbortSignal) =>
    Object.assign(new Error('aborted', { cause: signal.reason }), { name: 'AbortError' })
  const handler = async ({ cancellation: { signal } }: FastifyRequest) => {
    await once(signal, 'abort')
    throw AbortError(signal)
  }

  test('gets the reason, onError runs once, and its reply has the headers of a shutdown', async () => {
    const seen: unknown[] = []
    const { port, requests, started } = await start(handler, {
      setup(server) {
        server.addHook('onError', async (_, __, error) => void seen.push(error.name))
        server.addHook('onResponse', async (_, reply) => void seen.push(reply.statusCode))
        server.setErrorHandler((error, _, reply) => {
          seen.push(error)
          return reply.code(599).send({ mine: true })
        })
      }
    })
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('soft')
    const { status, headers, body } = await response
    expect([status, body]).toEqual([599, '{"mine":true}'])
    expect(headers).toMatchObject({ connection: 'close', 'retry-after': '1' })
    await eventually(() => expect(seen.length).toBe(3))
    expect(seen).toEqual(['AbortError', requests[0]!.cancellation.reason, 599])
  })

  test('may pass it on, and the status stays', async () => {
    const { port, started } = await start(handler, {
      setup: (server) =>
        server.setErrorHandler((error) => {
          throw error
        })
    })
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('soft')
    const { status, headers, body } = await response
    expect(status).toBe(503)
    expect(headers).toMatchObject({ connection: 'close', 'retry-after': '1' })
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_SHUTDOWN' })
  })

  test('on the route gets the reason too', async () => {
    let seen: unknown
    const { port, requests, started } = await start(handler, {
      route: {
        errorHandler(error, _, reply) {
          seen = error
          void reply.code(598).send('mine')
        }
      }
    })
    const response = rawRequest(port, POST)
    await started(1)
    await app.cancellation.shutdown('soft')
    expect((await response).status).toBe(598)
    expect(seen).toBe(requests[0]!.cancellation.reason)
  })
})

test('a real SIGTERM ends a POST with a body with 503, and the process exits', async () => {
  const fixture = startFixture(new URL('./fixtures/closing.js', import.meta.url))
  const [, port] = await fixture.waitFor(/listening on (\d+)/)
  const response = rawRequest(Number(port), POST)
  await fixture.waitFor(/working/)
  fixture.signal('SIGTERM')
  expect(JSON.parse((await response).body)).toEqual(BODY)
  expect(await fixture.exited).toEqual({ code: 0, signal: null })
})

test('a bad option is refused at registration', async () => {
  app = fastify()
  app.register(cancellation, { nonsense: 1 } as object)
  await expect(app.ready()).rejects.toMatchObject({
    code: 'MUSTER_ERR_OPTION',
    message: 'cancellation: unknown option "nonsense"'
  })
})

test('a bad option of a route is refused when the route is added', async () => {
  app = fastify()
  await app.register(cancellation)
  const config = { cancellation: { onShutdown: 'later' as 'soft' } }
  expect(() => app.get('/work', { config }, async () => '')).toThrow(
    'cancellation of GET /work: option "onShutdown": expected ("soft" | "hard" | "never") but received "later"'
  )
})
