import { eventually } from '@muster/testkit'
import dns from 'node:dns'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ProbeToken, selfProbe } from '../src/self-probe.ts'
import { changesOf, createService, listen } from './service.ts'

const read = (name: string) => readFileSync(new URL(`fixtures/${name}.pem`, import.meta.url))
const certificate = { key: read('key'), cert: read('certificate') }

/** Not every machine has localhost as 127.0.0.1 and ::1; where it has, Fastify binds both. */
function resolveLocalhostTwice(): void {
  const both = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 }
  ]
  const lookup = (host: string, ...rest: unknown[]): void => {
    const done = rest.pop() as (...answer: unknown[]) => void
    if (rest.length > 0) done(null, both)
    else done(null, ...(host === '::1' ? ['::1', 6] : ['127.0.0.1', 4]))
  }
  vi.spyOn(dns, 'lookup').mockImplementation(lookup as typeof dns.lookup)
  onTestFinished(() => void vi.restoreAllMocks())
}

describe('self-probe', () => {
  it.each(['127.0.0.1', '::1', 'localhost', '0.0.0.0', '::'])(
    'reaches a service on %s',
    async (host) => {
      const app = await createService()
      await app.listen({ port: 0, host })
      await app.readiness.whenReady()
      expect(app.readiness.state).toBe('ready')
    }
  )

  it('asks each of two addresses', async () => {
    const app = await createService({ probe: { path: '/asked' } })
    const asked = new Set<string | undefined>()
    app.get('/asked', async (request) => {
      asked.add(request.socket.localAddress)
      return 'here'
    })
    resolveLocalhostTwice()
    await app.listen({ port: 0, host: 'localhost' })
    await app.readiness.whenReady()
    expect(app.addresses()).toHaveLength(2)
    expect(asked).toEqual(new Set(['127.0.0.1', '::1']))
  })

  it('reaches a unix socket', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'muster-'))
    const app = await createService()
    await app.listen({ path: join(directory, 'socket') })
    await app.readiness.whenReady()
    expect(app.readiness.state).toBe('ready')
    await app.close()
    await rm(directory, { recursive: true })
  })

  it.each([
    ['HTTPS with a certificate that nobody signed', { https: certificate }],
    ['HTTP/2 over TLS', { https: certificate, http2: true }],
    [
      'HTTP/2 over TLS, HTTP/1 allowed',
      { https: { ...certificate, allowHTTP1: true }, http2: true }
    ],
    ['HTTP/2 in clear text', { http2: true }]
  ] as [string, object][])('reaches a service that speaks %s', async (_, server) => {
    const app = await createService({ probe: { path: '/asked' } }, server)
    let version = ''
    app.get('/asked', async (request) => (version = request.raw.httpVersion))
    await app.listen({ port: 0, host: '127.0.0.1' })
    await app.readiness.whenReady()
    expect(version).toBe('http2' in server ? '2.0' : '1.1')

    const directory = await mkdtemp(join(tmpdir(), 'muster-'))
    const local = await createService({}, server)
    await local.listen({ path: join(directory, 'socket') })
    await local.readiness.whenReady()
    await local.close()
    await rm(directory, { recursive: true })
  })

  it('contrast: a client with opinions refuses that certificate', async () => {
    const app = await createService({}, { https: certificate } as object)
    await app.listen({ port: 0, host: '127.0.0.1' })
    await expect(fetch(`${app.listeningOrigin}/livez`)).rejects.toThrow('fetch failed')
  })

  it('tries again while the route answers errors', async () => {
    const app = await createService({ probe: { path: '/slow-start' } })
    let asked = 0
    app.get('/slow-start', async (_, reply) => reply.code(++asked < 4 ? 500 : 200).send())
    await listen(app)
    await app.readiness.whenReady()
    expect(asked).toBe(4)
  })

  it('gives an attempt up that hangs, and tries again', async () => {
    const app = await createService({ probe: { path: '/stuck', timeout: 60 } })
    let asked = 0
    app.get('/stuck', async (_, reply) => (++asked < 3 ? reply.hijack() : 'here'))
    await listen(app)
    await app.readiness.whenReady()
    expect(asked).toBe(3)
  })

  it('fails at once, naming the path, when the path is not there', async () => {
    const app = await createService({ probe: { path: '/nowhere' }, onFailed: 'stay' })
    await listen(app)
    await expect(app.readiness.whenReady()).rejects.toThrow(
      'the probe path /nowhere is not there (404)'
    )
  })

  it('is content with a connection where there is no route to ask', async () => {
    const app = await createService({ routes: false })
    await listen(app)
    await app.readiness.whenReady()
    expect(app.readiness.state).toBe('ready')
  })

  it('leaves it to declare() when turned off', async () => {
    const app = await createService({ probe: false })
    await listen(app)
    expect(app.readiness.report().waitingFor).toEqual({
      declaration: 'declare() was not called yet'
    })
    app.readiness.declare()
    expect(app.readiness.state).toBe('ready')
  })

  it('refuses declare() where the probe decides', async () => {
    const app = await createService()
    expect(() => app.readiness.declare()).toThrow('"probe"')
  })

  it('does not take a stranger on the port for us, not even one that sends back all it was sent', async () => {
    const stranger = createServer((request, response) => {
      response.writeHead(200, { [ProbeToken.header]: request.headers[ProbeToken.header] })
      response.end()
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void stranger.close())
    await eventually(() => expect(stranger.listening).toBe(true))
    const giveUp = new AbortController()
    const failures: string[] = []

    const service = { addresses: () => [stranger.address() as AddressInfo] }
    const probing = selfProbe(service, {
      tls: false,
      http2: false,
      path: '/livez',
      timeout: 1_000,
      token: new ProbeToken(),
      signal: giveUp.signal,
      onFailure: ({ message }) => failures.push(message)
    })
    await eventually(() => expect(failures.length).toBeGreaterThan(2))
    giveUp.abort()

    await expect(probing).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
    expect(failures[0]).toMatch(/answered 200, but it is not this process/)
  })

  it('contrast: a poll of the port takes the stranger for the service', async () => {
    const stranger = createServer((_, response) => void response.end()).listen(0, '127.0.0.1')
    onTestFinished(() => void stranger.close())
    await eventually(() => expect(stranger.listening).toBe(true))
    const { port } = stranger.address() as AddressInfo
    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200)
  })

  it('does not keep other onListen hooks from running, nor is it kept by one that never ends', async () => {
    const app = await createService({ probe: { path: '/stuck', timeout: 5_000 }, timeout: 5_000 })
    app.get('/stuck', async (_, reply) => reply.hijack())
    let ran = false
    app.addHook('onListen', async () => {
      ran = true
    })
    await listen(app)
    await eventually(() => expect(ran).toBe(true))

    const other = await createService()
    other.addHook('onListen', () => new Promise<void>(() => {}))
    await listen(other)
    await other.readiness.whenReady()
  })

  it('ends with the app that closes in the middle, and nobody is told of ready, many times', async () => {
    for (let round = 0; round < 30; round++) {
      const app = await createService({ probe: { path: '/slow' } })
      app.get('/slow', async () => pause(20).then(() => 'here'))
      const changes = changesOf(app)
      await listen(app)
      await pause(round % 15)
      await app.close()
      expect(changes.map(({ state }) => state)).toEqual(['draining'])
      expect(app.readiness.report().waitingFor).toHaveProperty('self-probe')
    }
  })

  it('leaves no connection behind', async () => {
    const app = await createService()
    await listen(app)
    await app.readiness.whenReady()
    const connections = () =>
      new Promise((resolve) => app.server.getConnections((_, n) => resolve(n)))
    await eventually(async () => expect(await connections()).toBe(0))
    const { port } = app.server.address() as AddressInfo
    const socket = connect(port, '127.0.0.1')
    await eventually(async () => expect(await connections()).toBe(1))
    socket.destroy()
  })
})
