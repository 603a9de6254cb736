import { eventually, type Fixture, rawConnection, rawRequest, startFixture } from '@muster/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'

interface Service extends Fixture {
  port: number
}

async function startService(
  options: object = {},
  env: Record<string, string> = {}
): Promise<Service> {
  const fixture = startFixture(new URL('fixtures/service.js', import.meta.url), {
    env: { OPTIONS: JSON.stringify(options), ...env }
  })
  onTestFinished(() => fixture.kill())
  const [, port] = await fixture.waitFor(/port (\d+)/)
  await fixture.waitFor(/ready: /)
  return Object.assign(Object.create(fixture) as Fixture, { port: Number(port) })
}

const GET = (path: string) => `GET ${path} HTTP/1.1\r\nhost: test\r\n\r\n`
const work = (ms: number) => {
  const body = JSON.stringify({ ms })
  return `POST /work HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

describe('SIGTERM', () => {
  it('withdraws while listening, closes, and exits with 0', async () => {
    const service = await startService()
    service.signal('SIGTERM')
    expect(await service.exited).toEqual({ code: 0, signal: null })
    const order = [
      'draining: SIGTERM',
      'withdrawn while listening',
      'onClose',
      'info: shut down by SIGTERM'
    ]
    const found = order.map((line) => service.output.indexOf(line))
    expect(found).toEqual(found.toSorted((a, b) => a - b))
    expect(found).not.toContain(-1)
  })

  it('serves during the drain delay, unready, with the last reply on each connection', async () => {
    const service = await startService({ drainDelay: 1_500 })
    const connection = await rawConnection(service.port)
    connection.write(GET('/'))
    expect((await connection.response()).headers['connection']).toBe('keep-alive')

    service.signal('SIGTERM')
    await service.waitFor(/draining: SIGTERM/)
    connection.write(GET('/'))
    expect(await connection.response()).toMatchObject({
      status: 200,
      body: 'served',
      headers: { connection: 'close' }
    })
    await eventually(() => expect(connection.closed).toBe(true))
    expect((await rawRequest(service.port, GET('/readyz'))).status).toBe(503)
    expect((await rawRequest(service.port, GET('/livez'))).status).toBe(200)
    expect((await service.exited).code).toBe(0)
  })

  it('lets requests in flight end, on keep-alive connections too', async () => {
    const service = await startService()
    const connection = await rawConnection(service.port)
    connection.write(work(300))
    await service.waitFor(/working/)
    service.signal('SIGTERM')
    expect(await connection.response()).toMatchObject({ status: 200, body: 'done' })
    expect(await service.exited).toEqual({ code: 0, signal: null })
    expect(service.output).toContain('1 requests were in flight, 0 were cut')
  })

  it('cuts at the hard point what did not end, says what it was, and exits with 1', async () => {
    const service = await startService({ grace: 150 })
    const connection = await rawConnection(service.port)
    connection.write(work(60_000))
    await service.waitFor(/working/)
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(1)
    expect(service.output).toMatch(
      /the grace is over: 1 requests are cut .*"method":"POST","url":"\/work","age":\d+/
    )
    expect(service.output).toContain('onClose')
    await eventually(() => expect(connection.closed).toBe(true))
  })

  it('is not held by connections that never sent anything, nor by idle ones', async () => {
    const service = await startService({ grace: 20_000 })
    const never = await rawConnection(service.port)
    const idle = await rawConnection(service.port)
    idle.write(GET('/'))
    await idle.response()
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(0)
    await eventually(() => expect([never.closed, idle.closed]).toEqual([true, true]))
  })

  it('is not held by a stream without an end beyond the hard point', async () => {
    const service = await startService({ grace: 150 })
    const connection = await rawConnection(service.port)
    connection.write(GET('/stream'))
    await eventually(() => expect(connection.received).toContain('begun'))
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(1)
    expect(service.output).toContain('onClose')
  })

  it('is not held by a registry that hangs', async () => {
    const service = await startService({}, { DEAF_REGISTRY: '1' })
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(0)
    expect(service.output).toContain('registry could not be withdrawn')
  })

  it('is not held by an onClose hook that hangs: the budget ends it', async () => {
    const service = await startService({ grace: 100, closing: 200 }, { DEAF_ONCLOSE: '1' })
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(1)
    expect(service.output).toContain('the budget is over')
  })

  it('goes on, and exits with 1, when a preClose hook throws', async () => {
    const service = await startService({ grace: 300 }, { BROKEN_PRECLOSE: '1' })
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(1)
    expect(service.output).toContain('closing failed')
  })
})

describe('further signals', () => {
  it('skip the drain delay at the second', async () => {
    const service = await startService({ drainDelay: 60_000, grace: 1_000 })
    service.signal('SIGTERM')
    await service.waitFor(/draining/)
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(0)
    expect(service.output).toContain('second signal')
  })

  it('exit at once at the third', async () => {
    const service = await startService({ grace: 60_000 })
    const connection = await rawConnection(service.port)
    connection.write(work(60_000))
    await service.waitFor(/working/)
    service.signal('SIGTERM')
    await service.waitFor(/draining/)
    service.signal('SIGINT')
    await service.waitFor(/second signal/)
    service.signal('SIGINT')
    expect((await service.exited).code).toBe(1)
    expect(service.output).not.toContain('onClose')
  })
})

describe('other ends', () => {
  it('withdraws and exits with 1 after an error that nobody caught, logged once', async () => {
    const service = await startService({ drainDelay: 60_000 })
    await rawRequest(service.port, GET('/crash'))
    expect((await service.exited).code).toBe(1)
    expect(service.output.match(/fatal:.*nobody catches this/g)).toHaveLength(1)
    expect(service.output).toContain('withdrawn while listening')
  })

  it('still closes after a second error, which it logs too', async () => {
    const service = await startService()
    await rawRequest(service.port, GET('/crash-twice'))
    expect((await service.exited).code).toBe(1)
    expect(service.output).toMatch(/fatal:.*number 0[^]*fatal:.*number 1[^]*onClose/)
  })

  it('lets requests in flight end when the signal finds the app closing already', async () => {
    const service = await startService()
    const connection = await rawConnection(service.port)
    connection.write(work(3_500))
    await service.waitFor(/working/)
    await rawRequest(service.port, GET('/close'))
    await service.waitFor(/draining: app.close/)
    await eventually(() => expect(rawConnection(service.port)).rejects.toThrow('ECONNREFUSED'))
    service.signal('SIGTERM')
    expect(await connection.response()).toMatchObject({ status: 200, body: 'done' })
    expect((await service.exited).code).toBe(0)
  })

  it('shows that error also where the app has no logger', async () => {
    const fixture = startFixture(new URL('fixtures/crash.js', import.meta.url))
    onTestFinished(() => fixture.kill())
    expect((await fixture.exited).code).toBe(1)
    expect(fixture.output.match(/Error: nobody catches this/g)).toHaveLength(1)
  })

  it('begins with another signal where that is asked for', async () => {
    const service = await startService({ signals: ['SIGHUP'] })
    service.signal('SIGHUP')
    expect(await service.exited).toEqual({ code: 0, signal: null })
    expect(service.output).toContain('draining: SIGHUP')
  })

  it('does the same from code', async () => {
    const service = await startService()
    expect((await rawRequest(service.port, GET('/end'))).body).toBe('ending')
    expect((await service.exited).code).toBe(0)
    expect(service.output).toContain('draining: an operator')
  })

  it('ends both apps of one process before it exits', async () => {
    const fixture = startFixture(new URL('fixtures/two-apps.js', import.meta.url))
    onTestFinished(() => fixture.kill())
    await fixture.waitFor(/up/)
    fixture.signal('SIGTERM')
    expect((await fixture.exited).code).toBe(0)
    expect(fixture.output).toContain('slow closed')
  })

  it('ends a start-up by a signal, promptly, and nothing is announced', async () => {
    const fixture = startFixture(new URL('fixtures/slow-boot.js', import.meta.url))
    onTestFinished(() => fixture.kill())
    await fixture.waitFor(/registered/)
    fixture.signal('SIGTERM')
    expect((await fixture.exited).code).toBe(0)
    expect(fixture.output).not.toMatch(/^ready/m)
  })
})
