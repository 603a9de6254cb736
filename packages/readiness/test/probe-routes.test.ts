import { describe, expect, it } from 'vitest'
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
})
