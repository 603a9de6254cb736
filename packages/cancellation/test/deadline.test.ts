import { once } from 'node:events'
import { Writable } from 'node:stream'
import { rawRequest } from '@muster/testkit'
import fastify, { type FastifyRequest } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import cancellation, { type CancellationOptions } from '../src/index.ts'
import { listen } from './listen.ts'

let app = fastify()

afterEach(() => app.close())

const POST = (path: string, headers: Record<string, string> = {}) => {
  const lines = Object.entries({ host: 'x', 'content-length': '2', ...headers })
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `POST ${path} HTTP/1.1\r\ncontent-type: text/plain\r\n${head}\r\nhi`
}

const untilCancelled = async ({ cancellation: { signal } }: FastifyRequest) => {
  await once(signal, 'abort')
  throw signal.reason
}

/** POST /wait until cancelled, POST /remaining answers how long it has, POST /timed has a deadline of 60 ms. */
async function start(options: CancellationOptions = {}) {
  const log: { level: number; header?: string }[] = []
  const stream = new Writable({
    write(line, _, done) {
      log.push(JSON.parse(String(line)))
      done()
    }
  })
  app = fastify({ logger: { stream, level: 'debug' } }) as unknown as typeof app
  await app.register(cancellation, options)
  app.post('/wait', untilCancelled)
  app.post('/remaining', async ({ cancellation }) => String(cancellation.remaining()))
  const config = { cancellation: { deadline: 60 } }
  app.post('/timed', { config }, untilCancelled)
  return { port: await listen(app), log }
}

describe('the deadline of a route', () => {
  test('ends a POST with a body with 504', async () => {
    const { port } = await start()
    const { status, headers, body } = await rawRequest(port, POST('/timed'))
    expect(status).toBe(504)
    expect(headers['retry-after']).toBeUndefined()
    expect(JSON.parse(body)).toMatchObject({
      code: 'MUSTER_ERR_DEADLINE',
      reason: 'deadline',
      retryable: true,
      started: true
    })
  })

  test("contrast: Fastify's handlerTimeout does nothing for a POST with a body", async () => {
    app = fastify({ handlerTimeout: 60 })
    app.post('/timed', async () => {
      await new Promise((resolve) => setTimeout(resolve, 200))
      return 'late, and nobody minded'
    })
    const { status } = await rawRequest(await listen(app), POST('/timed'))
    expect(status).toBe(200)
  })

  test('is seen by a loop that never yields', async () => {
    app = fastify()
    await app.register(cancellation)
    const config = { cancellation: { deadline: 60 } }
    app.post('/timed', { config }, async ({ cancellation }) => {
      const giveUp = Date.now() + 5_000
      while (!cancellation.cancelled && Date.now() < giveUp);
      cancellation.throwIfCancelled()
      return 'missed'
    })
    const { status } = await rawRequest(await listen(app), POST('/timed'))
    expect(status).toBe(504)
  })

  test('leaves a handler alone that does not look, and no timer behind', async () => {
    app = fastify()
    await app.register(cancellation)
    const config = { cancellation: { deadline: 60 } }
    app.post('/deaf', { config }, async () => {
      await new Promise((resolve) => setTimeout(resolve, 150))
      return 'done'
    })
    app.post('/quick', { config: { cancellation: { deadline: 600_000 } } }, async (request) => {
      expect(request.cancellation.signal.aborted).toBe(false)
      return 'done'
    })
    const port = await listen(app)
    const timers = () =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    expect((await rawRequest(port, POST('/deaf'))).body).toBe('done')
    const before = timers()
    for (let i = 0; i < 20; i++) expect((await rawRequest(port, POST('/quick'))).body).toBe('done')
    await expect.poll(timers).toBeLessThan(before + 10)
  })

  test('that is over before the handler begins answers 504 without running it', async () => {
    let ran = false
    app = fastify()
    await app.register(cancellation)
    const config = { cancellation: { deadline: 50 } }
    const preHandler = async () => {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    app.post('/late', { config, preHandler }, async () => {
      ran = true
    })
    const { status, body } = await rawRequest(await listen(app), POST('/late'))
    expect(status).toBe(504)
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_DEADLINE', started: false })
    expect(ran).toBe(false)
  })
})

describe('a deadline header', () => {
  test.each([
    ['x-request-timeout-ms', '9000'],
    ['x-envoy-expected-rq-timeout-ms', '9000'],
    ['connect-timeout-ms', '9000'],
    ['grpc-timeout', '9S'],
    ['grpc-timeout', '9000m'],
    ['grpc-timeout', '9000000u']
  ])('%s: %s is understood', async (name, value) => {
    const { port } = await start({ deadlineHeaders: true })
    const { body } = await rawRequest(port, POST('/remaining', { [name]: value }))
    expect(Number(body)).toBeGreaterThan(8_000)
    expect(Number(body)).toBeLessThanOrEqual(9_000)
  })

  test('the soonest of several wins', async () => {
    const { port } = await start({ deadlineHeaders: true })
    const headers = {
      'x-request-timeout-ms': '50000',
      'grpc-timeout': '9S',
      'connect-timeout-ms': '20000'
    }
    const { body } = await rawRequest(port, POST('/remaining', headers))
    expect(Number(body)).toBeGreaterThan(8_000)
    expect(Number(body)).toBeLessThanOrEqual(9_000)
  })

  test('is clamped to maxDeadline', async () => {
    const { port } = await start({ deadlineHeaders: true, maxDeadline: 5_000 })
    const headers = { 'x-request-timeout-ms': '9000000000' }
    const { body } = await rawRequest(port, POST('/remaining', headers))
    expect(Number(body)).toBeGreaterThan(4_000)
    expect(Number(body)).toBeLessThanOrEqual(5_000)
    expect((await rawRequest(port, POST('/remaining'))).body).toBe('Infinity')
  })

  test('does not make a route wait longer than it would by itself', async () => {
    const { port } = await start({ deadlineHeaders: true })
    const headers = { 'x-request-timeout-ms': '60000' }
    expect((await rawRequest(port, POST('/timed', headers))).status).toBe(504)
  })

  test.each(['0', '0000'])('of %s has passed: 504 without running the handler', async (value) => {
    const { port } = await start({ deadlineHeaders: true })
    const response = await rawRequest(port, POST('/wait', { 'x-request-timeout-ms': value }))
    expect(response.status).toBe(504)
    expect(JSON.parse(response.body)).toMatchObject({ started: false })
  })

  test.each([
    ['x-request-timeout-ms', 'soon'],
    ['x-request-timeout-ms', '-1'],
    ['x-request-timeout-ms', '1e3'],
    ['x-request-timeout-ms', '99999999999'],
    ['grpc-timeout', '9'],
    ['grpc-timeout', '9s'],
    ['grpc-timeout', '999999999S'],
    ['grpc-timeout', '9constructor']
  ])('%s: %s cannot be read and is ignored with a debug line', async (name, value) => {
    const { port, log } = await start({ deadlineHeaders: true })
    const response = await rawRequest(port, POST('/remaining', { [name]: value }))
    expect(response).toMatchObject({ status: 200, body: 'Infinity' })
    expect(log.filter(({ header }) => header)).toMatchObject([{ level: 20, header: name, value }])
  })

  test('is not read where it is not enabled', async () => {
    const { port } = await start()
    const headers = { 'x-request-timeout-ms': '0' }
    expect((await rawRequest(port, POST('/remaining', headers))).body).toBe('Infinity')
  })
})

test("Fastify's handlerTimeout cancels with a deadline, and its own answer stays", async () => {
  let token: FastifyRequest['cancellation'] | undefined
  app = fastify()
  await app.register(cancellation)
  app.get('/', { handlerTimeout: 60 }, async (request) => {
    token = request.cancellation
    await once(token.signal, 'abort')
    throw token.signal.reason
  })
  const { status, body } = await rawRequest(await listen(app), 'GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  expect(status).toBe(503)
  expect(JSON.parse(body)).toMatchObject({ code: 'FST_ERR_HANDLER_TIMEOUT' })
  expect(token?.reason?.kind).toBe('deadline')
})

test.each([
  [{ deadlineHeaders: 'yes' }, 'option "deadlineHeaders": expected boolean but received "yes"'],
  [{ maxDeadline: 0 }, 'option "maxDeadline": expected >=1 but received 0']
])('%o is refused', async (options, message) => {
  app = fastify()
  app.register(cancellation, options as CancellationOptions)
  await expect(app.ready()).rejects.toMatchObject({
    code: 'MUSTER_ERR_OPTION',
    message: expect.stringContaining(message)
  })
})
