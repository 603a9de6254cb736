import { Worker } from 'node:worker_threads'
import { eventually, type RawConnection, rawConnection, rawRequest } from '@muster/testkit'
import fastify, { type FastifyRequest } from 'fastify'
import { Piscina } from 'piscina'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import cancellation, { fromShared, type SharedCancellation } from '../src/index.ts'
import { listen } from './listen.ts'

const fixture = (name: string) => new URL(`./fixtures/${name}.js`, import.meta.url)
const POST = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi'

let app = fastify()
let handler: (request: FastifyRequest) => unknown
let port = 0
let connection: RawConnection | undefined
const workers: Worker[] = []

beforeEach(async () => {
  app = fastify({ genReqId: () => 'the-id' })
  await app.register(cancellation)
  app.post('/', (request) => handler(request))
  port = await listen(app)
})

afterEach(async () => {
  connection?.destroy()
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()))
  await app.close()
})

/** A worker that says when it is in its loop. */
function start(name: string, data: { cancellation: SharedCancellation; throws?: boolean }) {
  const ready = new SharedArrayBuffer(4)
  const worker = new Worker(fixture(name), { workerData: { ...data, ready } })
  workers.push(worker)
  const exit = new Promise<number>((resolve) => worker.once('exit', resolve))
  const loops = () => eventually(() => expect(new Int32Array(ready)[0]).toBe(1))
  return { worker, exit, loops }
}

const cancel = () => app.cancellation.cancel('the-id', 'the operator said so ✓')

describe('a synchronous loop in a worker thread', () => {
  test('stops by polling, and the reason arrives', async () => {
    let loops: Promise<unknown> | undefined
    handler = async (request) => {
      const polling = start('polling-worker', { cancellation: request.cancellation.share() })
      loops = polling.loops()
      return app.cancellation.run(polling.worker, request)
    }
    const response = rawRequest(port, POST)
    await eventually(() => expect(loops).toBeDefined())
    await loops
    const begun = performance.timeOrigin + performance.now()
    cancel()
    const { status, body } = await response
    expect(status).toBe(200)
    const { at, polls, ...reason } = JSON.parse(body)
    expect(reason).toEqual({
      kind: 'manual',
      code: 'MUSTER_ERR_CANCELLED',
      message: 'the operator said so ✓',
      statusCode: 409
    })
    expect(at - begun).toBeLessThan(500)
    expect(polls).toBeGreaterThan(0)
  })

  test('sees its deadline though the main thread is blocked', async () => {
    const begun = Date.now()
    const shared = { buffer: new SharedArrayBuffer(2_048), deadline: begun + 300 }
    const { worker, loops } = start('polling-worker', { cancellation: shared })
    const message = new Promise<{ kind: string; at: number }>((resolve) =>
      worker.once('message', resolve)
    )
    await loops()
    while (Date.now() < begun + 600);
    const { kind, at } = await message
    expect(kind).toBe('deadline')
    expect(at).toBeLessThan(begun + 600)
  })

  test('that throws the reason makes it the status of the response', async () => {
    let loops: Promise<unknown> | undefined
    handler = async (request) => {
      const cancellation = request.cancellation.share()
      const polling = start('polling-worker', { cancellation, throws: true })
      loops = polling.loops()
      return app.cancellation.run(polling.worker, request)
    }
    const response = rawRequest(port, POST)
    await eventually(() => expect(loops).toBeDefined())
    await loops
    await app.cancellation.shutdown('soft')
    const { status, body } = await response
    expect(status).toBe(503)
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_SHUTDOWN', reason: 'shutdown' })
  })

  test('that never looks is terminated at the hard point', async () => {
    let deaf: ReturnType<typeof start> | undefined
    handler = async (request) => {
      deaf = start('deaf-worker', { cancellation: request.cancellation.share() })
      return app.cancellation.run(deaf.worker, request)
    }
    const response = rawRequest(port, POST)
    await eventually(() => expect(deaf).toBeDefined())
    await deaf!.loops()
    await app.cancellation.shutdown('soft')
    let exited = false
    void deaf!.exit.then(() => (exited = true))
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(exited).toBe(false)
    await app.cancellation.shutdown('hard')
    expect(await deaf!.exit).toBe(1)
    expect((await response).status).toBe(503)
  })

  test('that never looks is terminated when its ceiling is reached, for a client that left', async () => {
    let deaf: ReturnType<typeof start> | undefined
    const failed: unknown[] = []
    handler = async (request) => {
      deaf = start('deaf-worker', { cancellation: request.cancellation.share() })
      await app.cancellation
        .run(deaf.worker, request, { ceiling: 60 })
        .catch((error) => failed.push(error))
    }
    connection = await rawConnection(port)
    connection.write(POST)
    await eventually(() => expect(deaf).toBeDefined())
    await deaf!.loops()
    connection.destroy()
    expect(await deaf!.exit).toBe(1)
    await eventually(() => expect(failed.length).toBe(1))
    expect(failed).toMatchObject([
      { code: 'MUSTER_ERR_WORKER_ENDED', cause: { code: 'MUSTER_ERR_CLIENT_GONE' } }
    ])
  })
})

test('a worker that waits is woken through the signal', async () => {
  let waiting: ReturnType<typeof start> | undefined
  handler = async (request) => {
    waiting = start('waiting-worker', { cancellation: request.cancellation.share() })
    return app.cancellation.run(waiting.worker, request)
  }
  const response = rawRequest(port, POST)
  await eventually(() => expect(waiting).toBeDefined())
  await waiting!.loops()
  cancel()
  expect(JSON.parse((await response).body)).toEqual({
    kind: 'manual',
    message: 'the operator said so ✓',
    same: true
  })
})

test('what a worker fails with stays that failure', async () => {
  handler = async (request) => {
    const worker = new Worker('throw new TypeError("genuine")', { eval: true })
    workers.push(worker)
    return app.cancellation.run(worker, request)
  }
  const { status, body } = await rawRequest(port, POST)
  expect(status).toBe(500)
  expect(JSON.parse(body)).toMatchObject({ message: 'genuine' })
})

test('a worker that ends without an answer is a 500', async () => {
  handler = async (request) => {
    const worker = new Worker('process.exit(7)', { eval: true })
    workers.push(worker)
    return app.cancellation.run(worker, request)
  }
  const { status, body } = await rawRequest(port, POST)
  expect(status).toBe(500)
  expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_WORKER_ENDED' })
})

describe('in a pool of piscina', () => {
  const inPool = (pool: Piscina, deaf: boolean) => {
    const ready = new SharedArrayBuffer(4)
    handler = (request) =>
      pool.run(
        { cancellation: request.cancellation.share(), ready, deaf },
        { signal: app.cancellation.ceiling(request) }
      )
    return () => eventually(() => expect(new Int32Array(ready)[0]).toBe(1))
  }

  test('a task stops by polling, and its thread lives on', async () => {
    await using pool = new Piscina({ filename: fixture('pool-task').href, maxThreads: 1 })
    const loops = inPool(pool, false)
    const response = rawRequest(port, POST)
    await loops()
    const [thread] = pool.threads
    await app.cancellation.shutdown('soft')
    expect(JSON.parse((await response).body)).toEqual({ kind: 'shutdown' })
    expect(pool.threads).toEqual([thread])
  })

  test('a task that never looks is terminated at the hard point', async () => {
    await using pool = new Piscina({ filename: fixture('pool-task').href, maxThreads: 1 })
    const loops = inPool(pool, true)
    const response = rawRequest(port, POST)
    await loops()
    await app.cancellation.shutdown('soft')
    await app.cancellation.shutdown('hard')
    const { status, body } = await response
    expect(status).toBe(503)
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_SHUTDOWN' })
  })
})

test('share() gives the same memory each time, and fromShared() the same interface', async () => {
  let done = false
  handler = async ({ cancellation: token }) => {
    const shared = token.share()
    expect(token.share()).toBe(shared)
    const view = fromShared(shared)
    expect(view.cancelled).toBe(false)
    expect(view.share()).toBe(shared)
    expect(Object.isFrozen(view)).toBe(true)
    const told: unknown[] = []
    view.onCancel((reason) => told.push(reason))
    cancel()
    expect(view.reason).toMatchObject({ kind: 'manual', message: 'the operator said so ✓' })
    expect(view.signal.reason).toBe(view.reason)
    expect(told).toEqual([view.reason])
    expect(() => view.throwIfCancelled()).toThrow('the operator said so ✓')
    done = true
  }
  await rawRequest(port, POST)
  expect(done).toBe(true)
})
