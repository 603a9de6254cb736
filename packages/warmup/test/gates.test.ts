import { eventually } from '@muster/testkit'
import Fastify from 'fastify'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { warmup } from '../src/index.ts'
import { controlled, createService, flaky, get, listen } from './service.ts'

describe("gate 'listen'", () => {
  it('does not bind the port before its tasks are done', async () => {
    const work = controlled()
    const { app } = await createService({ tasks: { db: { run: work.run, gate: 'listen' } } })
    let bound = false
    const listening = listen(app).finally(() => (bound = true))
    await eventually(() => expect(app.warmup.report().db?.elapsed).toBeGreaterThan(50))
    expect([bound, app.server.listening]).toEqual([false, false])
    work.land('db')
    const origin = await listening
    await app.readiness.whenReady()
    expect((await get(origin)).status).toBe(200)
  })

  it('waits for those behind it as well, whatever their own gate', async () => {
    const work = controlled()
    const { app } = await createService({
      tasks: {
        db: { run: work.run, gate: false },
        tenants: { run: () => 'tenants', gate: 'listen', after: ['db'] }
      }
    })
    const listening = listen(app)
    await eventually(() => expect(app.warmup.report()).toMatchObject({ db: { status: 'running' } }))
    expect(app.server.listening).toBe(false)
    work.land('db')
    await listening
    expect(app.warmup.report()).toMatchObject({ tenants: { status: 'done' } })
  })

  it('retries without binding, until it succeeds', async () => {
    const db = flaky(3)
    const { app } = await createService({
      tasks: { db: { run: db.run, gate: 'listen', retry: { min: 10, max: 20 } } }
    })
    await listen(app)
    expect(db.runs).toBe(4)
  })

  it('refuses to listen when one fails for good: says why, disposes in reverse and exits with 1', async () => {
    const disposed: string[] = []
    const made = (name: string) => ({
      run: () => name,
      dispose: (value: string) => void disposed.push(value)
    })
    const failure = new Error('no such database')
    const { app, log } = await createService({
      tasks: {
        db: made('db'),
        cache: { ...made('cache'), after: ['db'] },
        tenants: {
          run: () => Promise.reject(failure),
          gate: 'listen',
          retry: false,
          after: ['cache']
        }
      }
    })
    await expect(listen(app)).rejects.toMatchObject({
      code: 'MUSTER_ERR_WARMUP_FAILED',
      message: 'refusing to listen: tenants failed: no such database',
      cause: { cause: failure }
    })
    expect(disposed).toEqual(['cache', 'db'])
    expect([app.server.listening, app.readiness.state, process.exitCode]).toEqual([
      false,
      'failed',
      1
    ])
    expect(log.map(({ msg }) => msg)).toContainEqual(
      expect.stringContaining('refusing to listen: tenants failed: no such database')
    )
    await app.close()
    expect(disposed).toEqual(['cache', 'db'])
  })

  it('refuses to listen at the deadline, with what was missing and why', async () => {
    const { app } = await createService({
      tasks: {
        db: { run: flaky(99).run, gate: 'listen', retry: { min: 10, max: 20 } },
        model: { run: () => new Promise(() => {}), gate: 'listen' },
        behind: { run: () => 'never', gate: 'listen', after: ['done', 'db'] },
        done: { run: () => 'done', gate: 'listen' }
      },
      deadline: 200
    })
    await expect(listen(app)).rejects.toThrow(
      'refusing to listen: not done within 200 ms: db (down), model (no answer yet), behind (after db (down))'
    )
  })

  it.each([500, 0])('outlasts a pluginTimeout of %d ms (0: none)', async (pluginTimeout) => {
    const { app } = await createService(
      {
        tasks: { model: { run: () => pause(900, 'model'), gate: 'listen' } },
        deadline: pluginTimeout === 0 ? 2 ** 31 - 1 : 60_000
      },
      { server: { pluginTimeout } }
    )
    await listen(app)
    expect(await app.warmup.get('model')).toBe('model')
  })

  it('outlasts a pluginTimeout while a task blocks the event loop', async () => {
    const block = (): void => {
      const end = performance.now() + 500
      while (performance.now() < end);
    }
    const run = async () => {
      block()
      await pause(50)
      block()
      return 'parsed'
    }
    const { app } = await createService(
      { tasks: { model: { run, gate: 'listen' } } },
      { server: { pluginTimeout: 300 } }
    )
    await listen(app)
    expect(await app.warmup.get('model')).toBe('parsed')
  })

  it('reports its own failure, not the pluginTimeout it outlasted', async () => {
    const { app } = await createService(
      {
        tasks: {
          db: { run: () => new Promise(() => {}), gate: 'listen', timeout: 800, retry: false }
        }
      },
      { server: { pluginTimeout: 500 } }
    )
    await expect(listen(app)).rejects.toThrow(
      'refusing to listen: db failed: db: no result within 800 ms'
    )
  })

  it('is over at once when the service drains', async () => {
    const { app } = await createService({
      tasks: { db: { run: () => new Promise(() => {}), gate: 'listen' } }
    })
    const listening = listen(app)
    await eventually(() => expect(app.warmup.report()).toMatchObject({ db: { status: 'running' } }))
    void app.readiness.drain('SIGTERM')
    await expect(listening).rejects.toMatchObject({ code: 'MUSTER_ERR_WARMUP_STOPPED' })
    await app.close()
  })

  it('keeps a bare close() waiting, since Fastify queues that behind the boot', async () => {
    const work = controlled()
    const { app } = await createService({ tasks: { db: { run: work.run, gate: 'listen' } } })
    let closed = false
    const ready = app.ready()
    await eventually(() => expect(app.warmup.report()).toMatchObject({ db: { status: 'running' } }))
    const closing = app.close().finally(() => (closed = true))
    await eventually(() => expect(app.warmup.report().db?.elapsed).toBeGreaterThan(200))
    expect(closed).toBe(false)
    work.land('db')
    await ready
    await closing
  })

  it('contrast: an onReady hook of ones own fails at the pluginTimeout', async () => {
    const app = Fastify({ pluginTimeout: 200 })
    app.addHook('onReady', async () => {
      await pause(600)
    })
    await expect(app.listen({ port: 0 })).rejects.toMatchObject({ code: 'FST_ERR_HOOK_TIMEOUT' })
    await app.close()
  })
})

describe("gate 'ready'", () => {
  it('binds, answers traffic with 503 and Retry-After and probes with 200, until its tasks are done', async () => {
    const work = controlled()
    const { app } = await createService({ tasks: { tenants: work.run } })
    const origin = await listen(app)
    await eventually(() =>
      expect(app.readiness.report().waitingFor).toEqual({
        'hold warmup tenants': 'not released yet'
      })
    )
    const refused = await get(origin)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
    expect(JSON.parse(refused.body)).toMatchObject({ code: 'MUSTER_ERR_WARMING_UP' })
    expect((await get(`${origin}/livez`)).status).toBe(200)
    expect((await get(`${origin}/readyz`)).status).toBe(503)
    work.land('made')
    await app.readiness.whenReady()
    expect((await get(origin)).status).toBe(200)
  })

  it('fails the service when one fails for good, with the reason', async () => {
    const { app } = await createService(
      { tasks: { model: { run: flaky(1).run, retry: false } } },
      { ready: { onFailed: 'stay' } }
    )
    await listen(app)
    await expect(app.readiness.whenReady()).rejects.toThrow('model failed: down')
    expect(app.readiness.state).toBe('failed')
    expect(app.readiness.cause).toContain('model failed: down')
    expect(app.readiness.report().parts).toMatchObject({
      warmup: { model: { status: 'failed', attempts: 1, error: 'down' } }
    })
  })

  it('goes on retrying until the timeout of readiness, which names the task', async () => {
    const { app } = await createService(
      { tasks: { db: { run: flaky(9_999).run, retry: { min: 10, max: 20 } } } },
      { ready: { timeout: 300, onFailed: 'stay' } }
    )
    await listen(app)
    await expect(app.readiness.whenReady()).rejects.toMatchObject({
      code: 'MUSTER_ERR_READY_TIMEOUT',
      message: expect.stringContaining('hold warmup db')
    })
    await expect(app.warmup.get('db')).rejects.toMatchObject({ code: 'MUSTER_ERR_WARMUP_STOPPED' })
  })

  it('is on the timeline of the start-up', async () => {
    const { app, log } = await createService({
      tasks: { db: { run: () => pause(60, 'db'), gate: 'listen' }, tenants: () => pause(60) }
    })
    await listen(app)
    await app.readiness.whenReady()
    const names = app.readiness.report().timeline.map(({ name }) => name)
    expect(names).toEqual(expect.arrayContaining(['warmup db', 'hold warmup tenants']))
    expect(log.map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(/^ready in \d+ ms: .*warmup db \d+ ms/)
    )
  })
})

describe('no gate', () => {
  it('lets the service be ready without its task', async () => {
    const { app } = await createService({
      tasks: { suggestions: { run: () => new Promise(() => {}), gate: false } }
    })
    const origin = await listen(app)
    await app.readiness.whenReady()
    expect((await get(origin)).status).toBe(200)
    expect(app.warmup.report()).toMatchObject({ suggestions: { status: 'running', gate: false } })
  })
})

describe('without readiness', () => {
  it('registers it with its defaults', async () => {
    const app = Fastify()
    await app.register(warmup, { tasks: { db: () => 'db' } })
    await app.listen({ port: 0, host: '127.0.0.1' })
    await app.readiness.whenReady()
    expect(app.readiness.state).toBe('ready')
    await app.close()
  })

  it('contrast: lazy initialisation on the first request answers 500, and runs once for each', async () => {
    const work = controlled()
    let runs = 0
    const app = Fastify()
    app.get('/', async () => {
      runs++
      return work.promise
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const origin = app.listeningOrigin
    const all = Promise.all(Array.from({ length: 10 }, () => get(origin)))
    await eventually(() => expect(runs).toBe(10))
    work.crash(new Error('down'))
    expect((await all).map(({ status }) => status)).toEqual(Array(10).fill(500))
    await app.close()
  })

  it('contrast: what is started eagerly but gates nothing answers 500 until it is done', async () => {
    const work = controlled()
    let value: string | undefined
    const app = Fastify()
    app.addHook('onReady', async () => {
      void work.promise.then((made) => (value = made))
    })
    app.get('/', async () => {
      if (value === undefined) throw new Error('not there yet')
      return value
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const origin = app.listeningOrigin
    expect((await get(origin)).status).toBe(500)
    work.land('made')
    await eventually(async () => expect((await get(origin)).status).toBe(200))
    await app.close()
  })
})
