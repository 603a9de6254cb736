import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { setTimeout as pause } from 'node:timers/promises'
import sse from '@fastify/sse'
import { eventually, type RawConnection, rawConnection, type RawResponse } from '@muster/testkit'
import fastify, { type FastifyReply, type FastifyRequest, type RouteOptions } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import cancellation from '../src/index.ts'
import { listen } from './listen.ts'

let app = fastify()
let connection: RawConnection | undefined
let log: { level: number; msg: string; code?: string; err?: unknown }[] = []

afterEach(async () => {
  connection?.destroy()
  app.server.closeAllConnections()
  await app.close()
})

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown

/** Starts GET / with `handler` and asks for it. */
async function request(
  handler: Handler,
  route: Partial<RouteOptions> = {}
): Promise<{ response: () => Promise<RawResponse> }> {
  log = []
  const stream = new Writable({
    write(line, _, done) {
      log.push(JSON.parse(String(line)))
      done()
    }
  })
  app = fastify({ logger: { stream }, genReqId: () => 'the-id' }) as unknown as typeof app
  await app.register(cancellation)
  await app.register(sse as never, { heartbeatInterval: 0 })
  app.route({ method: 'GET', url: '/', ...route, handler })
  connection = await rawConnection(await listen(app))
  connection.write('GET / HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n')
  const opened = connection
  return { response: () => opened.response() }
}

const received = (text: string) => eventually(() => expect(connection?.received).toContain(text))

const SHUTDOWN = {
  statusCode: 503,
  code: 'MUSTER_ERR_SHUTDOWN',
  error: 'Service Unavailable',
  message: 'The server is shutting down',
  reason: 'shutdown',
  retryable: true,
  started: true
}
const NDJSON_END = `${JSON.stringify({ error: SHUTDOWN })}\n`
const SSE_END = new RegExp(
  `event: shutdown\\nretry: (\\d+)\\ndata: ${JSON.stringify(SHUTDOWN).replaceAll(/[{}]/g, '\\$&')}\\n\\n$`
)

/** Two records, then nothing until it is destroyed. */
function source(records: string[], seen: string[] = []) {
  return async function* () {
    try {
      for (const record of records) yield record
      await pause(60_000, null, { ref: false })
    } finally {
      seen.push('finally')
    }
  }
}

const ndjson = (reply: FastifyReply, payload: unknown) =>
  reply.type('application/x-ndjson').send(payload)

describe('a stream of records', () => {
  test('NDJSON ends with an error record; what was sent stays', async () => {
    const { response } = await request((_, reply) =>
      ndjson(reply, Readable.from(source(['{"n":1}\n', '{"n":2}\n'])()))
    )
    await received('{"n":2}')
    await app.cancellation.shutdown('soft')
    const { status, body } = await response()
    expect(status).toBe(200)
    expect(body).toBe(`{"n":1}\n{"n":2}\n${NDJSON_END}`)
    const lines = log.filter(({ code }) => code === 'MUSTER_ERR_SHUTDOWN')
    expect(lines).toMatchObject([{ level: 30, statusCode: 503 }])
    expect(log.filter(({ level }) => level > 30)).toEqual([])
  })

  test('SSE ends with an event and a spread time to come back', async () => {
    const retries = new Set<string>()
    for (let i = 0; i < 3; i++) {
      const { response } = await request((_, reply) =>
        reply
          .type('text/event-stream; charset=utf-8')
          .send(Readable.from(source(['data: 1\n\n'])()))
      )
      await received('data: 1')
      await app.cancellation.shutdown('soft')
      const { body } = await response()
      expect(body).toMatch(/^data: 1\n\nevent: shutdown\n/)
      const [, retry = ''] = SSE_END.exec(body) ?? []
      expect(Number(retry)).toBeGreaterThanOrEqual(1_000)
      expect(Number(retry)).toBeLessThan(5_000)
      retries.add(retry)
      await app.close()
    }
    expect(retries.size).toBeGreaterThan(1)
  })

  test('contrast: without the plugin it hangs until it is cut, and the client is told nothing', async () => {
    app = fastify()
    app.get('/', (_, reply) => void ndjson(reply, Readable.from(source(['{"n":1}\n'])())))
    connection = await rawConnection(await listen(app))
    connection.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await received('{"n":1}')
    const closed = app.close()
    await pause(100)
    expect(connection.closed).toBe(false)
    app.server.closeAllConnections()
    await closed
    await eventually(() => expect(connection?.closed).toBe(true))
    expect(connection.received).not.toContain('error')
  })

  test('a line that is not complete is ended first', async () => {
    const { response } = await request((_, reply) =>
      ndjson(reply, Readable.from(source(['{"n":1}\n', '{"n'])()))
    )
    await received('{"n\r\n')
    await app.cancellation.shutdown('soft')
    expect((await response()).body).toBe(`{"n":1}\n{"n\n${NDJSON_END}`)
  })

  test('before the first byte the status is that of the reason', async () => {
    const { response } = await request((_, reply) => ndjson(reply, Readable.from(source([])())))
    await eventually(() => expect(log.some(({ msg }) => msg === 'incoming request')).toBe(true))
    await app.cancellation.shutdown('soft')
    const { status, body } = await response()
    expect(status).toBe(503)
    expect(JSON.parse(body)).toEqual(SHUTDOWN)
  })

  test('a cancellation that came before the stream was sent is 503 too', async () => {
    const { response } = await request(async (_, reply) => {
      await pause(100)
      return ndjson(reply, Readable.from(source(['{"n":1}\n'])()))
    })
    await eventually(() => expect(log.some(({ msg }) => msg === 'incoming request')).toBe(true))
    await app.cancellation.shutdown('soft')
    expect(await response()).toMatchObject({ status: 503 })
  })

  test("the generator's finally runs, on a shutdown and when the client leaves", async () => {
    for (const leave of [() => app.cancellation.shutdown('soft'), () => connection?.destroy()]) {
      const seen: string[] = []
      async function* forever() {
        try {
          for (let n = 0; ; n++) {
            yield `{"n":${n}}\n`
            await pause(5)
          }
        } finally {
          seen.push('finally')
        }
      }
      await request((_, reply) => ndjson(reply, Readable.from(forever())))
      await received('{"n":2}')
      void leave()
      await eventually(() => expect(seen).toEqual(['finally']))
      await app.close()
    }
  })

  test.each<[string, (token: FastifyRequest['cancellation']) => AsyncGenerator<string>]>([
    [
      'looks and returns',
      async function* (token) {
        yield '{"n":1}\n'
        while (!token.cancelled) await pause(5)
      }
    ],
    [
      'throws the reason',
      async function* (token) {
        yield '{"n":1}\n'
        await once(token.signal, 'abort')
        token.throwIfCancelled()
      }
    ],
    [
      'throws an AbortError',
      async function* (token) {
        yield '{"n":1}\n'
        await pause(60_000, null, { signal: token.signal })
      }
    ]
  ])('the last record is there when the source %s', async (_, generate) => {
    const { response } = await request(({ cancellation: token }, reply) =>
      ndjson(reply, Readable.from(generate(token)))
    )
    await received('{"n":1}')
    await app.cancellation.shutdown('soft')
    expect((await response()).body).toBe(`{"n":1}\n${NDJSON_END}`)
  })

  test('a deadline and the application say so too', async () => {
    const { response } = await request(
      (_, reply) => ndjson(reply, Readable.from(source(['{"n":1}\n'])())),
      { config: { cancellation: { deadline: 100 } } }
    )
    expect((await response()).body).toContain('"code":"MUSTER_ERR_DEADLINE"')
    await app.close()

    const second = await request((_, reply) =>
      ndjson(reply, Readable.from(source(['{"n":1}\n'])()))
    )
    await received('{"n":1}')
    app.cancellation.cancel('the-id', 'enough')
    expect((await second.response()).body).toContain('"message":"enough"')
  })

  test('a web stream ends the same way', async () => {
    let cancelled = false
    const { response } = await request((_, reply) =>
      ndjson(
        reply,
        new ReadableStream({
          start: (controller) => controller.enqueue(Buffer.from('{"n":1}\n')),
          cancel: () => void (cancelled = true)
        })
      )
    )
    await received('{"n":1}')
    await app.cancellation.shutdown('soft')
    expect((await response()).body).toBe(`{"n":1}\n${NDJSON_END}`)
    await eventually(() => expect(cancelled).toBe(true))
  })

  test('that completes is not touched', async () => {
    const { response } = await request(({ cancellation: token }, reply) => {
      expect(token.cancelled).toBe(false)
      return ndjson(reply, Readable.from(['{"n":1}\n', '{"n":2}\n']))
    })
    expect((await response()).body).toBe('{"n":1}\n{"n":2}\n')
    await app.cancellation.shutdown('soft')
  })

  test('whose source really fails is cut, and the failure is logged', async () => {
    await request((_, reply) =>
      ndjson(
        reply,
        Readable.from(
          (async function* () {
            yield '{"n":1}\n'
            await pause(50)
            throw new Error('genuine')
          })()
        )
      )
    )
    await eventually(() => expect(connection?.closed).toBe(true))
    expect(connection?.received).not.toContain('error')
    expect(log.find(({ level }) => level === 40)?.err).toMatchObject({ message: 'genuine' })
  })

  test('of a route that asks for it goes on to the hard point', async () => {
    const { response } = await request(
      (_, reply) => ndjson(reply, Readable.from(source(['{"n":1}\n'])())),
      { config: { cancellation: { onShutdown: 'hard' } } }
    )
    await received('{"n":1}')
    await app.cancellation.shutdown('soft')
    await pause(50)
    expect(connection?.received).not.toContain('error')
    await app.cancellation.shutdown('hard')
    expect((await response()).body).toBe(`{"n":1}\n${NDJSON_END}`)
  })
})

describe('any other stream', () => {
  const csv = (reply: FastifyReply, payload: unknown) => reply.type('text/csv').send(payload)
  const slow = async function* () {
    for (let n = 0; n < 5; n++) {
      yield `${n}\n`
      await pause(40)
    }
  }

  test('is cut if the handler looked, so that the client sees that it is not complete', async () => {
    await request(({ cancellation: token }, reply) => {
      expect(token.cancelled).toBe(false)
      return csv(reply, Readable.from(slow()))
    })
    await received('0\n')
    await app.cancellation.shutdown('soft')
    await eventually(() => expect(connection?.closed).toBe(true))
    expect(connection?.received).not.toContain('\r\n0\r\n\r\n')
    expect(log.filter(({ level }) => level > 30)).toEqual([])
  })

  test('is cut also if the source looks for the first time in between, and returns', async () => {
    await request((incoming, reply) =>
      csv(
        reply,
        Readable.from(
          (async function* () {
            yield '0\n'
            while (!incoming.cancellation.cancelled) await pause(5)
          })()
        )
      )
    )
    await received('0\n')
    await app.cancellation.shutdown('soft')
    await eventually(() => expect(connection?.closed).toBe(true))
    expect(connection?.received).not.toContain('\r\n0\r\n\r\n')
  })

  test('before its first byte becomes the status of the reason', async () => {
    const { response } = await request(({ cancellation: token }, reply) => {
      expect(token.cancelled).toBe(false)
      return csv(reply, Readable.from(source([])()))
    })
    await eventually(() => expect(log.some(({ msg }) => msg === 'incoming request')).toBe(true))
    await app.cancellation.shutdown('soft')
    expect(await response()).toMatchObject({ status: 503 })
  })

  test('goes on to its end if nobody looked', async () => {
    const { response } = await request((_, reply) => csv(reply, Readable.from(slow())))
    await received('0\n')
    await app.cancellation.shutdown('hard')
    expect(await response()).toMatchObject({ status: 200, body: '0\n1\n2\n3\n4\n' })
  })

  test('counts as such if its records are compressed', async () => {
    await request((_, reply) => {
      void _.cancellation.cancelled
      return ndjson(reply.header('content-encoding', 'x-own'), Readable.from(slow()))
    })
    await received('0\n')
    await app.cancellation.shutdown('soft')
    await eventually(() => expect(connection?.closed).toBe(true))
    expect(connection?.received).not.toContain('SHUTDOWN')
  })
})

describe('what a handler writes by itself', () => {
  test('@fastify/sse: an async iterable ends with the event', async () => {
    const { response } = await request(
      async (_, reply) => {
        await (reply as never as { sse: { send(source: unknown): Promise<void> } }).sse.send(
          (async function* () {
            for (let n = 0; ; n++) {
              yield { data: n }
              await pause(10)
            }
          })()
        )
      },
      { sse: true } as object
    )
    await received('data: 2')
    await app.cancellation.shutdown('soft')
    const { status, body } = await response()
    expect(status).toBe(200)
    expect(body).toMatch(/^data: 0\n\n/)
    expect(body).toMatch(SSE_END)
  })

  test('@fastify/sse: a connection that is kept alive ends with the event', async () => {
    const { response } = await request(
      async (_, reply) => {
        const { sse: events } = reply as never as {
          sse: { keepAlive(): void; send(event: unknown): Promise<void> }
        }
        events.keepAlive()
        await events.send({ data: 'hello' })
      },
      { sse: true } as object
    )
    await received('hello')
    await app.cancellation.shutdown('soft')
    expect((await response()).body).toMatch(SSE_END)
  })

  test('a hijacked reply ends with the event, with finish()', async () => {
    const { response } = await request((_, reply) => {
      reply.hijack()
      app.cancellation.finish(reply, 'text/event-stream')
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
      reply.raw.write('data: 1\n\n')
    })
    await received('data: 1')
    await app.cancellation.shutdown('soft')
    expect((await response()).body).toMatch(SSE_END)
    expect(log.find(({ code }) => code === 'MUSTER_ERR_SHUTDOWN')).toBeDefined()
  })

  test('a handler that throws the reason after it began to write ends with the record', async () => {
    const { response } = await request(async ({ cancellation: { signal } }, reply) => {
      reply.raw.setHeader('content-type', 'application/x-ndjson')
      reply.raw.write('{"n":1}\n')
      await pause(60_000, null, { signal })
    })
    await received('{"n":1}')
    await app.cancellation.shutdown('soft')
    expect((await response()).body).toBe(`{"n":1}\n${NDJSON_END}`)
  })
})
