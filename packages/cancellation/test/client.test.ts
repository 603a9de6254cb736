import { setTimeout as pause } from 'node:timers/promises'
import { eventually, type RawConnection, rawConnection, rawRequest } from '@muster/testkit'
import fastify, { type FastifyRequest } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import cancellation from '../src/index.ts'
import { listen } from './listen.ts'

let app = fastify()

const connections: RawConnection[] = []

afterEach(async () => {
  for (const connection of connections.splice(0)) connection.destroy()
  await app.close()
})

async function connect(port: number): Promise<RawConnection> {
  const connection = await rawConnection(port)
  connections.push(connection)
  return connection
}

const POST = (path: string, body = 'x'.repeat(1_000)) =>
  `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n\r\n${body}`

/** An app with POST /work, which keeps its request and does not answer before `finish()`. */
async function start() {
  const requests: FastifyRequest[] = []
  const builtin: AbortSignal[] = []
  let finish = () => {}
  const finished = new Promise<void>((resolve) => (finish = resolve))
  app = fastify()
  await app.register(cancellation)
  app.post('/work', async (request) => {
    requests.push(request)
    if (request.url.endsWith('?signal')) builtin.push(request.signal)
    await finished
    return 'done'
  })
  return { port: await listen(app), requests, builtin, finish }
}

const nth = (requests: FastifyRequest[], index = 0) =>
  eventually(() => {
    const request = requests[index]
    expect(request).toBeDefined()
    return request as FastifyRequest
  })

describe('a POST with a body', () => {
  test('is not cancelled while the client waits, and not by completing', async () => {
    const { port, requests, finish } = await start()
    const response = rawRequest(port, POST('/work'))
    const request = await nth(requests)
    const { signal } = request.cancellation
    await pause(50)
    expect(request.cancellation.cancelled).toBe(false)
    finish()
    expect((await response).body).toBe('done')
    await eventually(() => expect(request.raw.socket.destroyed).toBe(true))
    expect(request.cancellation.cancelled).toBe(false)
    expect(signal.aborted).toBe(false)
  })

  test('is cancelled when the client leaves', async () => {
    const { port, requests } = await start()
    const connection = await connect(port)
    connection.write(POST('/work'))
    const { cancellation } = await nth(requests)
    const { signal } = cancellation
    expect(cancellation.cancelled).toBe(false)
    connection.destroy()
    await eventually(() => expect(signal.aborted).toBe(true))
    expect(cancellation.cancelled).toBe(true)
    expect(cancellation.reason).toMatchObject({ kind: 'client', code: 'MUSTER_ERR_CLIENT_GONE' })
    expect(signal.reason).toBe(cancellation.reason)
  })

  test('is already cancelled when first asked after the client left', async () => {
    const { port, requests } = await start()
    const connection = await connect(port)
    connection.write(POST('/work'))
    const request = await nth(requests)
    connection.destroy()
    await eventually(() => expect(request.raw.socket.destroyed).toBe(true))
    expect(request.cancellation.signal.aborted).toBe(true)
    expect(request.cancellation.reason?.kind).toBe('client')
  })

  test("contrast: Fastify's request.signal, read at once, is aborted though the client waits", async () => {
    const { port, requests, builtin, finish } = await start()
    const response = rawRequest(port, POST('/work?signal'))
    const request = await nth(requests)
    await eventually(() => expect(builtin[0]?.aborted).toBe(true))
    expect(request.raw.socket.destroyed).toBe(false)
    expect(request.cancellation.cancelled).toBe(false)
    finish()
    expect((await response).body).toBe('done')
  })

  test("contrast: Fastify's request.signal, read later, is never aborted though the client left", async () => {
    const { port, requests } = await start()
    const connection = await connect(port)
    connection.write(POST('/work'))
    const request = await nth(requests)
    await eventually(() => expect(request.raw.destroyed).toBe(true))
    const readLater = request.signal
    connection.destroy()
    await eventually(() => expect(request.cancellation.cancelled).toBe(true))
    expect(readLater.aborted).toBe(false)
  })

  test('is cancelled in the queue of a pipeline, whose head it waits for', async () => {
    const { port, requests } = await start()
    const connection = await connect(port)
    connection.write(POST('/work') + POST('/work'))
    const { cancellation } = await nth(requests, 1)
    const { signal } = cancellation
    connection.destroy()
    await eventually(() => expect(signal.aborted).toBe(true))
    expect(cancellation.reason?.kind).toBe('client')
  })
})

test('the token is one frozen object, without a way to cancel', async () => {
  const { port, requests, finish } = await start()
  const response = rawRequest(port, POST('/work'))
  const request = await nth(requests)
  const token = request.cancellation
  expect(request.cancellation).toBe(token)
  expect(Object.isFrozen(token)).toBe(true)
  expect(Object.isFrozen(Object.getPrototypeOf(token))).toBe(true)
  expect(() => Object.assign(request, { cancellation: 1 })).toThrow(TypeError)
  expect(() => Object.assign(token, { cancelled: true })).toThrow(TypeError)
  finish()
  await response
})

test('a long pipeline of watched requests does not warn of leaked listeners', async () => {
  const { port, requests, finish } = await start()
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  const connection = await connect(port)
  connection.write(POST('/work', 'x').repeat(20))
  await nth(requests, 19)
  const tokens = requests.map((request) => request.cancellation)
  finish()
  for (let i = 0; i < 20; i++) expect((await connection.response()).status).toBe(200)
  expect(tokens.filter((token) => token.cancelled)).toEqual([])
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
  expect(requests[0]!.raw.socket.listenerCount('close')).toBeLessThan(5)
  connection.destroy()
})
