import { describe, expect, it } from 'vitest'
import { eventually } from '@muster/testkit'
import { controlled, createService, flaky, get, listen } from './service.ts'

describe('config.warmup of a route', () => {
  it('lets a request wait until its task is done and the service is ready', async () => {
    const work = controlled()
    const { app } = await createService({ tasks: { tenants: work.run } })
    app.get('/tenants', { config: { warmup: ['tenants'] } }, () => app.warmup.get('tenants'))
    let answered = false
    const origin = await listen(app)
    const hold = app.readiness.hold('migrations')
    const waiting = get(`${origin}/tenants`).finally(() => (answered = true))
    expect((await get(origin)).status).toBe(503)
    work.land('made')
    await app.warmup.get('tenants')
    expect((await get(origin)).status).toBe(503)
    expect(answered).toBe(false)
    hold.release()
    expect(await waiting).toMatchObject({ status: 200, body: 'made' })
  })

  it('answers 503 with what is missing and an estimate in Retry-After when the wait is over', async () => {
    const { app, log } = await createService({
      tasks: {
        model: () => new Promise(() => {}),
        db: { run: flaky(99).run, retry: { min: 40_000_000, max: 40_000_000 } },
        there: () => 'there'
      }
    })
    const config = { warmup: ['model', 'db', 'there'], warmupWait: 100 }
    app.get('/model', { config }, async () => 'served')
    const origin = await listen(app)
    await eventually(() => expect(app.warmup.report().db).toHaveProperty('nextAttempt'))
    const start = performance.now()
    const { status, headers, body } = await get(`${origin}/model`)
    expect(performance.now() - start).toBeGreaterThanOrEqual(95)
    expect(status).toBe(503)
    expect(JSON.parse(body)).toEqual({
      statusCode: 503,
      code: 'MUSTER_ERR_WARMING_UP',
      error: 'Service Unavailable',
      message: 'Still waiting for model, db, try again shortly'
    })
    const next = Date.parse(app.warmup.report().db?.nextAttempt as string)
    const estimate = Number(headers.get('retry-after')) * 1_000
    expect(Math.abs(estimate - (next - Date.now()))).toBeLessThan(5_000)
    expect(log.filter(({ level }) => level >= 50)).toEqual([])
  })

  it('waits over failed attempts', async () => {
    const { app } = await createService({
      tasks: { db: { run: flaky(3).run, gate: false, retry: { min: 10, max: 20 } } }
    })
    app.get('/db', { config: { warmup: ['db'], warmupWait: 5_000 } }, () => app.warmup.get('db'))
    expect(await get(`${await listen(app)}/db`)).toMatchObject({ status: 200, body: 'run 4' })
  })

  it('starts afresh with each request what has failed for good', async () => {
    const { app } = await createService({
      tasks: { db: { run: flaky(2).run, gate: false, retry: false } }
    })
    app.get('/db', { config: { warmup: ['db'] } }, () => app.warmup.get('db'))
    const origin = await listen(app)
    await app.readiness.whenReady()
    await eventually(() => expect(app.warmup.report()).toMatchObject({ db: { status: 'failed' } }))
    expect((await get(`${origin}/db`)).status).toBe(503)
    expect(await get(`${origin}/db`)).toMatchObject({ status: 200, body: 'run 3' })
  })

  it('does not wait for readiness where the route is outside of the traffic gate', async () => {
    const { app } = await createService({ tasks: { db: () => 'db' } })
    app.readiness.hold('migrations')
    const config = { warmup: ['db'], readiness: false } as const
    app.get('/db', { config }, () => app.warmup.get('db'))
    expect(await get(`${await listen(app)}/db`)).toMatchObject({ status: 200, body: 'db' })
  })

  it('waits ahead of the hooks of the application', async () => {
    const work = controlled()
    const { app } = await createService({ tasks: { tenants: work.run } })
    let hooks = 0
    app.addHook('onRequest', async () => {
      hooks++
    })
    app.get('/tenants', { config: { warmup: ['tenants'] } }, async () => 'served')
    const waiting = get(`${await listen(app)}/tenants`)
    await get(`${app.listeningOrigin}/livez`)
    expect(hooks).toBe(0)
    work.land('made')
    expect((await waiting).status).toBe(200)
    expect(hooks).toBe(1)
  })

  it('works with HEAD, in a child, and under inject', async () => {
    const work = controlled()
    const { app } = await createService({ tasks: { tenants: work.run } })
    await app.register(async (child) => {
      child.get('/tenants', { config: { warmup: ['tenants'] } }, async () => 'served')
    })
    const waiting = [
      app.inject('/tenants'),
      app.inject({ method: 'HEAD', url: '/tenants' }),
      app.inject('/')
    ] as const
    expect((await waiting[2]).statusCode).toBe(200)
    work.land('made')
    expect((await waiting[0]).statusCode).toBe(200)
    expect((await waiting[1]).statusCode).toBe(200)
  })

  it('starts a task that was not started where warm-up is off', async () => {
    const { app } = await createService({ tasks: { tenants: () => 'made' }, warmup: false })
    app.get('/tenants', { config: { warmup: ['tenants'] } }, () => app.warmup.get('tenants'))
    expect((await app.inject('/tenants')).body).toBe('made')
  })

  it('is checked when the route is added', async () => {
    const { app } = await createService({ tasks: { tenants: () => 'made' } })
    const add = (config: object) => () => app.get('/x', { config }, async () => 'x')
    expect(add({ warmup: ['tenant'] })).toThrow('there is no task "tenant"; there are: tenants')
    expect(add({ warmup: 'tenants' })).toThrow('warmup: config of /x: option "warmup"')
    expect(add({ warmupWait: 100 })).toThrow('warmup: config of /x: option "warmup"')
    expect(add({ warmup: ['tenants'], warmupWait: '2s' })).toThrow('option "warmupWait"')
    // @ts-expect-error a time is a number
    void (() => app.get('/x', { config: { warmupWait: '2s' } }, async () => 'x'))
  })

  it('has its like in a handler: get() with a timeout is answered the same way', async () => {
    const { app } = await createService({
      tasks: { model: { run: () => new Promise(() => {}), gate: false } }
    })
    app.get('/model', () => app.warmup.get('model', { timeout: 100 }))
    const origin = await listen(app)
    await app.readiness.whenReady()
    const { status, headers, body } = await get(`${origin}/model`)
    expect([status, headers.get('retry-after')]).toEqual([503, '1'])
    expect(JSON.parse(body)).toMatchObject({ code: 'MUSTER_ERR_WARMING_UP' })
  })
})
