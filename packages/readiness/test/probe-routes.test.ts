import swagger from '@fastify/swagger'
import { eventually } from '@muster/testkit'
import Fastify from 'fastify'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Writable } from 'node:stream'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readiness } from '../src/index.ts'
import { changesOf, createService, get, listen } from './service.ts'

const statuses = async (origin: string) => ({
  live: (await get(`${origin}/livez`)).status,
  ready: (await get(`${origin}/readyz`)).status,
  startup: (await get(`${origin}/startupz`)).status
})

describe('probe routes', () => {
  it('tell starting, ready, unready and draining apart', async () => {
    const app = await createService()
    const migrations = app.readiness.hold('migrations')
    const origin = await listen(app)
    expect(await statuses(origin)).toEqual({ live: 200, ready: 503, startup: 503 })
    migrations.release()
    await app.readiness.whenReady()
    expect(await statuses(origin)).toEqual({ live: 200, ready: 200, startup: 200 })
    app.readiness.hold('reload')
    expect(await statuses(origin)).toEqual({ live: 200, ready: 503, startup: 200 })
    await app.readiness.drain()
    expect(await statuses(origin)).toEqual({ live: 200, ready: 503, startup: 200 })
  })

  it('answer in plain text that no cache keeps', async () => {
    const app = await createService()
    const origin = await listen(app)
    await app.readiness.whenReady()
    const { headers, body } = await get(`${origin}/readyz`)
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('content-type')).toContain('text/plain')
    expect(body).toBe('ready')
    expect((await get(`${origin}/livez`)).body).toBe('live')
  })

  it.each([
    ['?verbose', {}],
    ['', { accept: 'application/health+json' }]
  ])('answer %j %j with the report', async (query, headers) => {
    const app = await createService({
      checks: { db: () => Promise.reject(new Error('connect redis://user:hunter2@db:6379')) }
    })
    const origin = await listen(app)
    await expect.poll(() => app.readiness.report().checks.db?.status).toBe('failing')
    const response = await get(`${origin}/readyz${query}`, headers)
    expect(response.headers.get('content-type')).toContain('application/health+json')
    expect(JSON.parse(response.body)).toMatchObject({
      status: 'fail',
      service: 'test',
      state: 'starting',
      waitingFor: { 'check db': 'connect redis://***@db:6379' },
      checks: { db: { status: 'failing', critical: true } }
    })
    expect(response.body).not.toContain('hunter2')
  })

  it('are found at paths of their own, under a prefix, or not at all', async () => {
    const custom = await createService({ routes: { ready: '/custom' } })
    const origin = await listen(custom)
    await custom.readiness.whenReady()
    expect((await get(`${origin}/custom`)).status).toBe(200)
    expect((await get(`${origin}/livez`)).status).toBe(200)

    const prefixed = await createService({ routes: '/-/' })
    const prefixedOrigin = await listen(prefixed)
    await prefixed.readiness.whenReady()
    expect((await get(`${prefixedOrigin}/-/readyz`)).status).toBe(200)

    const none = await createService({ routes: false })
    expect((await get(`${await listen(none)}/readyz`)).status).not.toBe(200)
  })

  it('answer behind an auth hook that the application adds later', async () => {
    const app = await createService()
    app.addHook('onRequest', async (_, reply) => reply.code(401).send('who are you?'))
    const origin = await listen(app)
    await app.readiness.whenReady()
    expect((await get(origin)).status).toBe(401)
    expect(await statuses(origin)).toEqual({ live: 200, ready: 200, startup: 200 })
  })

  it('do not change the state by being asked', async () => {
    const app = await createService()
    const origin = await listen(app)
    await app.readiness.whenReady()
    const changes = changesOf(app)
    for (let i = 0; i < 20; i++) await get(`${origin}/readyz`)
    expect(changes).toEqual([])
  })

  it('are not in the document of @fastify/swagger', async () => {
    const app = Fastify()
    onTestFinished(() => app.close())
    await app.register(swagger, { openapi: {} })
    await app.register(readiness, { service: 'test' })
    app.get('/orders', async () => [])
    await app.ready()
    expect(Object.keys(app.swagger().paths ?? {})).toEqual(['/orders'])
  })

  it('answer HEAD as GET, without a body', async () => {
    const app = await createService()
    const origin = await listen(app)
    await app.readiness.whenReady()
    const response = await fetch(`${origin}/readyz`, { method: 'HEAD' })
    expect([response.status, await response.text()]).toEqual([200, ''])
  })
})

describe('probes on a port of their own', () => {
  async function createWithListener() {
    const lines: { port?: number }[] = []
    const stream = new Writable({
      write(chunk, _, done) {
        lines.push(JSON.parse(chunk))
        done()
      }
    })
    const app = await createService(
      { listener: { port: 0, host: '127.0.0.1' } },
      { logger: { stream } }
    )
    const origin = await listen(app)
    const port = await eventually(() => {
      const found = lines.find((line) => line.port !== undefined)?.port
      expect(found).toBeDefined()
      return found
    })
    return { app, origin, probes: `http://127.0.0.1:${port}` }
  }

  it('are answered there and not on the public one', async () => {
    const { app, origin, probes } = await createWithListener()
    await app.readiness.whenReady()
    expect(await statuses(probes)).toEqual({ live: 200, ready: 200, startup: 200 })
    expect(await statuses(origin)).toEqual({ live: 404, ready: 404, startup: 404 })

    const { headers, body } = await get(`${probes}/readyz?verbose`)
    expect(headers.get('content-type')).toBe('application/health+json')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(JSON.parse(body)).toMatchObject({ status: 'pass', state: 'ready' })
    expect((await get(`${probes}/elsewhere`)).status).toBe(404)
    expect((await fetch(`${probes}/readyz`, { method: 'POST' })).status).toBe(405)
  })

  it('say draining, and are live, until the app has closed; then the port is free', async () => {
    const { app, probes } = await createWithListener()
    await app.readiness.whenReady()
    let whileClosing = {}
    app.readiness.onDrain('probes', async () => {
      whileClosing = await statuses(probes)
    })
    await app.close()
    expect(whileClosing).toEqual({ live: 200, ready: 503, startup: 200 })
    await expect(fetch(probes)).rejects.toThrow('fetch failed')
  })

  it('contrast: on the public port everything is 503 while the app closes', async () => {
    const app = await createService()
    const origin = await listen(app)
    await app.readiness.whenReady()
    let whileClosing = {}
    app.readiness.onDrain('probes', async () => {
      whileClosing = await statuses(origin)
    })
    await app.close()
    expect(whileClosing).toEqual({ live: 503, ready: 503, startup: 503 })
  })

  it('fail the service when the port cannot be had', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void taken.close())
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const app = await createService({ listener: { port, host: '127.0.0.1' }, onFailed: 'stay' })
    await listen(app)
    await expect(app.readiness.whenReady()).rejects.toThrow(/the probe listener: .*EADDRINUSE/)
  })
})

describe('a poller of /readyz', () => {
  it('sees ready, unready and ready again as a check goes', async () => {
    let up = true
    const check = () => up
    const app = await createService({ checks: { db: { check, interval: 50, failures: 2 } } })
    const origin = await listen(app)
    const poll = (status: number) =>
      eventually(async () => expect((await get(`${origin}/readyz`)).status).toBe(status))
    await poll(200)
    up = false
    await poll(503)
    expect((await get(`${origin}/livez`)).status).toBe(200)
    up = true
    await poll(200)
  })
})
