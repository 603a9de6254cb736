import Fastify from 'fastify'
import { eventually, freePort } from '@muster/testkit'
import { describe, expect, it } from 'vitest'
import { createService, get, listen } from './service.ts'

describe('traffic gate', () => {
  it('answers 503 with Retry-After until the service is ready, then lets traffic through', async () => {
    const app = await createService()
    const hold = app.readiness.hold('migrations')
    const origin = await listen(app)

    const { status, headers, body } = await get(origin)
    expect(status).toBe(503)
    expect(headers.get('retry-after')).toBe('1')
    expect(JSON.parse(body)).toMatchObject({ statusCode: 503, code: 'MUSTER_ERR_WARMING_UP' })

    hold.release()
    await app.readiness.whenReady()
    expect(await get(origin)).toMatchObject({ status: 200, body: 'served' })
  })

  it('runs before the hooks of the application', async () => {
    const app = await createService()
    app.readiness.hold('migrations')
    let ran = 0
    app.addHook('onRequest', async () => {
      ran++
    })
    const origin = await listen(app)
    expect((await get(origin)).status).toBe(503)
    await eventually(() =>
      expect(Object.keys(app.readiness.report().waitingFor)).toEqual(['hold migrations'])
    )
    expect(ran).toBe(0)
  })

  it('stays open while unready and draining', async () => {
    const app = await createService()
    const origin = await listen(app)
    await app.readiness.whenReady()
    app.readiness.hold('reload')
    expect((await get(origin)).status).toBe(200)
    await app.readiness.drain()
    expect((await get(origin)).status).toBe(200)
  })

  it('closes again while unready when strict, and opens for the drain', async () => {
    const app = await createService({ gate: 'strict' })
    const origin = await listen(app)
    await app.readiness.whenReady()
    app.readiness.hold('reload')
    const { status, body } = await get(origin)
    expect([status, JSON.parse(body).code]).toEqual([503, 'MUSTER_ERR_UNREADY'])
    await app.readiness.drain()
    expect((await get(origin)).status).toBe(200)
  })

  it('lets routes out by config, and everything when off', async () => {
    const app = await createService()
    app.readiness.hold('migrations')
    app.get('/version', { config: { readiness: false } }, async () => 'v1')
    expect(await get(`${await listen(app)}/version`)).toMatchObject({ status: 200, body: 'v1' })

    const open = await createService({ gate: false })
    open.readiness.hold('migrations')
    expect((await get(await listen(open))).status).toBe(200)
  })

  it('lets routes that wait by themselves pass while starting, and only then', async () => {
    const app = await createService({ gate: 'strict' })
    const hold = app.readiness.hold('migrations')
    app.get('/waits', { config: { readiness: 'starting' } }, async () => 'waited')
    const url = `${await listen(app)}/waits`
    expect((await get(url)).status).toBe(200)
    hold.release()
    await app.readiness.whenReady()
    app.readiness.hold('reload')
    expect((await get(url)).status).toBe(503)
  })

  it('is not passed by a made-up token', async () => {
    const app = await createService()
    app.readiness.hold('migrations')
    const origin = await listen(app)
    const response = await get(origin, { 'x-muster-probe': 'f'.repeat(32) })
    expect(response.status).toBe(503)
    expect(response.headers.has('x-muster-probe')).toBe(false)
  })

  it('holds from the first request on: not one gets through before ready, over many starts', async () => {
    const answers = { before: 0, refused: 0 }
    for (let round = 0; round < 20; round++) {
      const app = await createService()
      const hold = app.readiness.hold('migrations')
      let ready = false
      app.addHook('preHandler', async () => {
        if (!ready) answers.before++
      })
      const port = await freePort()
      const url = `http://localhost:${port}/`
      const early = Promise.all(
        Array.from({ length: 5 }, () =>
          eventually(async () => expect((await fetch(url)).status).toBe(503)).then(
            () => answers.refused++
          )
        )
      )
      await app.listen({ port, host: 'localhost' })
      await early
      ready = true
      hold.release()
      await app.readiness.whenReady()
      expect((await fetch(url)).status).toBe(200)
      await app.close()
    }
    expect(answers).toEqual({ before: 0, refused: 100 })
  })

  it('contrast: bare Fastify serves while its onListen hooks still prepare', async () => {
    const app = Fastify()
    let prepared = false
    app.get('/', async () => prepared)
    let finish = (): void => {}
    app.addHook('onListen', () => new Promise<void>((resolve) => (finish = resolve)))
    const origin = await listen(app)
    expect(await get(origin)).toMatchObject({ status: 200, body: 'false' })
    prepared = true
    finish()
    await app.close()
  })
})
