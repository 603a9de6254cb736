import { rawConnection } from '@muster/testkit'
import Fastify, { type FastifyInstance } from 'fastify'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { shutdown } from '../src/index.ts'

/** Closes an app while a keep-alive request is in flight, and tells whether it closed after the reply. */
async function closeDuringRequest(app: FastifyInstance): Promise<'closed' | 'hangs'> {
  let arrived = (): void => {}
  const arrival = new Promise<void>((resolve) => (arrived = resolve))
  app.get('/slow', async () => {
    arrived()
    await pause(200)
    return 'done'
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  await app.ready()
  if (app.hasDecorator('readiness')) await app.readiness.whenReady()
  const connection = await rawConnection((app.server.address() as AddressInfo).port)
  connection.write('GET /slow HTTP/1.1\r\nhost: test\r\n\r\n')
  await arrival
  const closing = app.close().then(() => 'closed' as const)
  expect((await connection.response()).body).toBe('done')
  const outcome = await Promise.race([closing, pause(1_000, 'hangs' as const)])
  connection.destroy()
  await closing
  return outcome
}

describe('app.close() while a keep-alive request is in flight', () => {
  it('ends with the request', async () => {
    const app = Fastify()
    await app.register(shutdown)
    expect(await closeDuringRequest(app)).toBe('closed')
    expect(app.shutdown.state).toBe('closed')
  })

  it('contrast: bare Fastify hangs on the connection after the reply', async () => {
    expect(await closeDuringRequest(Fastify())).toBe('hangs')
  })
})

describe('a bare app.close()', () => {
  it('gives the signals of the process back', async () => {
    const before = process.eventNames().map((name) => process.listenerCount(name))
    const app = Fastify()
    await app.register(shutdown)
    expect(process.listenerCount('SIGTERM')).toBeGreaterThan(0)
    await app.close()
    expect(process.listenerCount('SIGTERM')).toBe(0)
    expect(process.eventNames().map((name) => process.listenerCount(name))).toEqual(before)
  })

  it('counts what is in flight', async () => {
    const app = Fastify()
    await app.register(shutdown)
    app.get('/', async () => app.shutdown.inFlight)
    expect((await app.inject('/')).json()).toBe(1)
    expect(app.shutdown.inFlight).toBe(0)
    await app.close()
  })
})

describe('options', () => {
  it.each([
    [{ grace: -1 }, 'option "grace"'],
    [{ drainDelay: '5s' }, 'option "drainDelay"'],
    [{ signals: ['SIGKILL'] }, 'option "signals.0"'],
    [{ delay: 1 }, 'unknown option "delay"']
  ])('%j is refused at registration: %s', async (options, message) => {
    const registering = Fastify().register(shutdown, options as object)
    await expect(registering).rejects.toThrow(message)
    await expect(registering).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
  })
})
