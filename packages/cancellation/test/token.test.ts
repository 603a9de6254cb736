import { setTimeout as pause } from 'node:timers/promises'
import { eventually, rawConnection, type RawConnection, rawRequest } from '@muster/testkit'
import fastify from 'fastify'
import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from 'vitest'
import cancellation, { type Cancellation, type CancellationError } from '../src/index.ts'
import { listen } from './listen.ts'

const GET = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`

let app = fastify()
let port = 0
const tokens: Cancellation[] = []
let answer = () => {}
let connection: RawConnection

beforeEach(async () => {
  tokens.length = 0
  app = fastify({ genReqId: () => 'the-id' })
  await app.register(cancellation)
  app.get('/', async (request) => {
    tokens.push(request.cancellation)
    await new Promise<void>((resolve) => (answer = resolve))
    return 'done'
  })
  app.get('/aborting', async ({ cancellation: { signal } }) => {
    setImmediate(cancel)
    await pause(5_000, null, { signal })
  })
  port = await listen(app)
})

afterEach(async () => {
  answer()
  connection?.destroy()
  await app.close()
})

async function inFlight(): Promise<Cancellation> {
  connection = await rawConnection(port)
  connection.write(GET('/'))
  await expect.poll(() => tokens.length).toBe(1)
  return tokens[0]!
}

const cancel = () => app.cancellation.cancel('the-id', 'the operator said so')
const stopped = { kind: 'manual', code: 'MUSTER_ERR_CANCELLED', message: 'the operator said so' }

describe('app.cancellation.cancel()', () => {
  test('cancels by request id, and the first reason wins', async () => {
    const token = await inFlight()
    const { signal } = token
    expect(app.cancellation.cancel('another', 'no')).toBe(false)
    expect(token.cancelled).toBe(false)
    expect(cancel()).toBe(true)
    const { reason } = token
    expect(reason).toMatchObject(stopped)
    expect(signal.reason).toBe(reason)
    await app.cancellation.shutdown('soft')
    expect(token.reason).toBe(reason)
  })

  test('answers 409 with what was said', async () => {
    const response = await rawRequest(port, GET('/aborting'))
    expect(response.status).toBe(409)
    expect(JSON.parse(response.body)).toEqual({
      statusCode: 409,
      code: 'MUSTER_ERR_CANCELLED',
      error: 'Conflict',
      message: 'the operator said so',
      reason: 'manual',
      retryable: false,
      started: true
    })
  })

  test('finds nobody once the response is complete', async () => {
    const token = await inFlight()
    answer()
    await connection.response()
    expect(cancel()).toBe(false)
    expect(token.cancelled).toBe(false)
  })
})

describe('throwIfCancelled()', () => {
  test('throws the reason, which is that of the signal', async () => {
    const token = await inFlight()
    expect(token.throwIfCancelled()).toBeUndefined()
    cancel()
    let thrown: unknown
    try {
      token.throwIfCancelled()
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBe(token.reason)
    expect(thrown).toBe(token.signal.reason)
  })
})

describe('checkpoint()', () => {
  test('lets others work, and throws if they have cancelled', async () => {
    const token = await inFlight()
    await token.checkpoint()
    setImmediate(cancel)
    await expect(token.checkpoint()).rejects.toMatchObject(stopped)
    await expect(token.checkpoint()).rejects.toBe(token.reason)
  })
})

describe('race()', () => {
  test('gives what the work comes to', async () => {
    const token = await inFlight()
    await expect(token.race(Promise.resolve(7))).resolves.toBe(7)
    await expect(token.race(Promise.reject(new Error('no')))).rejects.toThrow('no')
    expectTypeOf(token.race(Promise.resolve(7))).toEqualTypeOf<Promise<number>>()
  })

  test('rejects with the reason, and what the work fails with later is no unhandled rejection', async () => {
    const token = await inFlight()
    const unhandled: unknown[] = []
    const onUnhandled = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', onUnhandled)
    let fail: (error: Error) => void = () => {}
    const raced = token.race(new Promise((_, reject) => (fail = reject)))
    cancel()
    await expect(raced).rejects.toBe(token.reason)
    fail(new Error('too late'))
    await pause(50)
    process.off('unhandledRejection', onUnhandled)
    expect(unhandled).toEqual([])
  })
})

describe('onCancel()', () => {
  test('calls with the reason, at once if cancelled already', async () => {
    const token = await inFlight()
    const seen: CancellationError[] = []
    token.onCancel((reason) => seen.push(reason))
    cancel()
    token.onCancel((reason) => seen.push(reason))
    expect(seen).toEqual([token.reason, token.reason])
  })

  test('does not call what was disposed, nor anybody after the request has ended', async () => {
    const token = await inFlight()
    const seen: string[] = []
    token.onCancel(() => seen.push('disposed'))[Symbol.dispose]()
    token.onCancel(() => seen.push('ended'))
    answer()
    await connection.response()
    await app.cancellation.shutdown('hard')
    expect(seen).toEqual([])
  })

  test('a listener that fails does not keep the others from being told', async () => {
    const token = await inFlight()
    const seen: string[] = []
    token.onCancel(() => {
      throw new Error('sync')
    })
    token.onCancel(async () => Promise.reject(new Error('async')))
    token.onCancel(() => seen.push('last'))
    cancel()
    expect(seen).toEqual(['last'])
    expect(token.signal.aborted).toBe(true)
  })
})

describe('shield()', () => {
  test('lets clean-up outlive the cancellation', async () => {
    const token = await inFlight()
    const work = token.shield(
      async (signal) => {
        cancel()
        await pause(50, null, { signal })
        return 'cleaned up'
      },
      { max: 5_000 }
    )
    await expect(work).resolves.toBe('cleaned up')
    expect(token.cancelled).toBe(true)
  })

  test('ends after max, also work that does not listen, and tells why it was cancelled', async () => {
    const token = await inFlight()
    cancel()
    let aborted: AbortSignal | undefined
    const work = token.shield(
      (signal) => {
        aborted = signal
        return new Promise(() => {})
      },
      { max: 60 }
    )
    await expect(work).rejects.toMatchObject({
      code: 'MUSTER_ERR_SHIELD_TIMEOUT',
      cause: token.reason
    })
    expect(aborted?.aborted).toBe(true)
  })
})

test('without a deadline there is all the time', async () => {
  const token = await inFlight()
  expect([token.deadline, token.remaining()]).toEqual([undefined, Infinity])
})

test('the first cause wins though nobody looked: a shutdown, and then the client leaves', async () => {
  const token = await inFlight()
  await app.cancellation.shutdown('soft')
  connection.destroy()
  await eventually(() => expect(connection.closed).toBe(true))
  await app.close()
  expect(token.reason?.kind).toBe('shutdown')
})
