import { eventually } from '@muster/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { eager, fatal } from '../src/index.ts'
import { controlled, createService, flaky } from './service.ts'

declare module '../src/index.ts' {
  interface WarmupValues {
    tenants: Map<string, number>
  }
}

const SOON = { min: 50, max: 50 }

describe('tasks', () => {
  it('begin at boot, once, and 100 get() share that run', async () => {
    const work = controlled()
    let runs = 0
    const run = () => {
      runs++
      return work.promise
    }
    const { app } = await createService({ tasks: { tenants: run } })
    expect(runs).toBe(0)
    await app.ready()
    expect(runs).toBe(1)
    const all = Array.from({ length: 100 }, () => app.warmup.get('tenants'))
    work.land('made')
    expect(new Set(await Promise.all(all))).toEqual(new Set(['made']))
    expect(await app.warmup.get('tenants')).toBe('made')
    expect(runs).toBe(1)
  })

  it('belong to their app: the same options warm up each of two apps', async () => {
    let runs = 0
    const options = { tasks: { count: () => ++runs } }
    const one = await createService(options)
    const two = await createService(options)
    await Promise.all([one.app.ready(), two.app.ready()])
    expect(await Promise.all([one.app.warmup.get('count'), two.app.warmup.get('count')])).toEqual([
      1, 2
    ])
  })

  it('share flight and value with their eager(), whichever is asked', async () => {
    const work = controlled()
    let runs = 0
    const tenants = eager(() => {
      runs++
      return work.promise
    })
    const { app } = await createService({ tasks: { tenants } })
    await app.ready()
    const both = [tenants.get(), app.warmup.get('tenants')]
    work.land('made')
    expect(await Promise.all(both)).toEqual(['made', 'made'])
    await app.warmup.refresh('tenants')
    await tenants.refresh()
    expect(runs).toBe(3)
    await eventually(() => expect(app.warmup.report()).toMatchObject({ tenants: { attempts: 3 } }))
  })

  it('give their eager() back when the app closes, so that the next app starts afresh', async () => {
    const closed: number[] = []
    let runs = 0
    const connection = eager(() => ++runs)
    const tasks = { connection: { run: connection, dispose: (id: number) => closed.push(id) } }
    const first = await createService({ tasks })
    await first.app.ready()
    await first.app.warmup.get('connection')
    await expect(createService({ tasks })).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
    await first.app.close()
    expect([closed, connection.value]).toEqual([[1], undefined])

    const second = await createService({ tasks })
    await second.app.ready()
    expect(await second.app.warmup.get('connection')).toBe(2)
  })

  it('reject those who wait with the failure of that attempt, and bring the next one the value', async () => {
    const attempts = [controlled(), controlled()]
    let runs = 0
    const run = () => attempts[runs++]?.promise
    const { app } = await createService({ tasks: { db: { run, gate: false, retry: SOON } } })
    await app.ready()
    const waiting = [app.warmup.get('db'), app.warmup.get('db')]
    const failure = new Error('down')
    attempts[0]?.crash(failure)
    for (const outcome of await Promise.allSettled(waiting)) {
      expect(outcome).toEqual({ status: 'rejected', reason: failure })
    }
    const next = app.warmup.get('db')
    attempts[1]?.land('up')
    expect([await next, runs]).toEqual(['up', 2])
  })

  it('let a waiter leave by signal or timeout without ending the attempt', async () => {
    const work = controlled()
    let aborted = false
    const run = ({ signal }: { signal: AbortSignal }) => {
      signal.addEventListener('abort', () => (aborted = true))
      return work.promise
    }
    const { app } = await createService({ tasks: { db: run } })
    await app.ready()
    const stays = app.warmup.get('db')
    const leaver = new AbortController()
    const left = app.warmup.get('db', { signal: leaver.signal })
    leaver.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    await expect(app.warmup.get('db', { timeout: 50 })).rejects.toMatchObject({
      code: 'MUSTER_ERR_WARMING_UP',
      message: 'Still waiting for db, try again shortly',
      headers: { 'retry-after': '1' }
    })
    expect(aborted).toBe(false)
    work.land('made')
    expect(await stays).toBe('made')
  })

  it('retry with growing pauses until they succeed, tell it once in the log, and once that it is over', async () => {
    const db = flaky(4)
    const { app, log } = await createService({
      tasks: { db: { run: db.run, retry: { min: 20, max: 60 } } }
    })
    await app.ready()
    await eventually(() => expect(app.warmup.report()).toMatchObject({ db: { status: 'done' } }))
    expect(await app.warmup.get('db')).toBe('run 5')
    expect(app.warmup.report().db).toEqual({
      status: 'done',
      gate: 'ready',
      attempts: 5,
      elapsed: expect.any(Number)
    })
    const told = log.filter(({ msg }) => msg.startsWith('warm-up')).map(({ msg }) => msg)
    expect(told).toEqual([
      expect.stringMatching(/^warm-up of db failed, next attempt in \d+ ms: down$/),
      'warm-up of db succeeded after 4 failures'
    ])
  })

  it('show attempts, last error, next attempt and elapsed in the report, and the causes in the log', async () => {
    const failure = () =>
      new TypeError('no answer of redis://app:secret@cache', {
        cause: new AggregateError([new Error('redis://app:secret@::1')], 'refused')
      })
    const { app, log } = await createService({
      tasks: { cache: { run: flaky(99, failure).run, retry: { min: 600_000, max: 600_000 } } }
    })
    await app.ready()
    const { cache } = await eventually(() => {
      const { warmup } = app.readiness.report().parts as { warmup: Record<string, object> }
      expect(warmup.cache).toHaveProperty('nextAttempt')
      return warmup
    })
    expect(cache).toMatchObject({
      status: 'waiting',
      attempts: 1,
      error: 'no answer of redis://***@cache',
      elapsed: expect.any(Number),
      nextAttempt: expect.stringMatching(/^\d{4}-.*Z$/)
    })
    const line = log.find(({ msg }) => msg.startsWith('warm-up of cache failed'))
    expect(line?.err?.type).toBe('TypeError')
    expect(line?.err?.message).toContain('no answer of redis://***@cache')
    expect(line?.err?.stack).toMatch(/tasks\.test[^]*caused by: AggregateError: refused/)
    expect(JSON.stringify(log)).not.toContain('secret')
  })

  it('give up a run at its timeout, abort its signal, and dispose of what it brings afterwards', async () => {
    const late = controlled()
    const disposed: string[] = []
    const aborted: unknown[] = []
    let runs = 0
    const run = ({ signal }: { signal: AbortSignal }) => {
      if (++runs > 1) return 'second'
      signal.addEventListener('abort', () => aborted.push(signal.reason))
      return late.promise
    }
    const dispose = (value: string): void => void disposed.push(value)
    const { app } = await createService({
      tasks: { db: { run, timeout: 60, retry: SOON, dispose } }
    })
    await app.ready()
    const first = app.warmup.get('db')
    await expect(first).rejects.toMatchObject({
      code: 'MUSTER_ERR_WARMUP_TIMEOUT',
      message: 'db: no result within 60 ms'
    })
    expect(aborted).toEqual([expect.objectContaining({ code: 'MUSTER_ERR_WARMUP_TIMEOUT' })])
    expect(await app.warmup.get('db')).toBe('second')
    late.land('too late')
    await eventually(() => expect(disposed).toEqual(['too late']))
    expect(await app.warmup.get('db')).toBe('second')
  })

  it('abort the signal of a run that failed, so that its other half does not linger', async () => {
    const halves: AbortSignal[] = []
    const run = ({ signal }: { signal: AbortSignal }): Promise<string> => {
      halves.push(signal)
      return Promise.reject(new Error('the other half failed'))
    }
    const { app } = await createService({ tasks: { db: { run, gate: false, retry: false } } })
    await app.ready()
    await eventually(() => expect(halves[0]?.aborted).toBe(true))
  })

  it('stop at an error that is fatal, and at the first one without retry', async () => {
    const lost = flaky(99, () => fatal('no such model'))
    const said = flaky(99, () => Object.assign(new Error('bad model'), { fatal: true }))
    const once = flaky(99)
    const { app, log } = await createService({
      tasks: {
        lost: { run: lost.run, gate: false },
        said: { run: said.run, gate: false },
        once: { run: once.run, gate: false, retry: false },
        dependent: { run: () => 'never', gate: false, after: ['once'] }
      }
    })
    await app.ready()
    await eventually(() =>
      expect(app.warmup.report()).toMatchObject({
        lost: { status: 'failed', attempts: 1, error: expect.stringContaining('no such model') },
        said: { status: 'failed', attempts: 1, error: 'bad model' },
        once: { status: 'failed', attempts: 1, error: 'down' },
        dependent: { status: 'failed', attempts: 0, error: 'once failed: down' }
      })
    )
    const errors = log.filter(({ level }) => level === 50)
    expect(errors.map(({ msg }) => msg)).toEqual([
      expect.stringMatching(/^warm-up of lost failed for good: .*no such model/),
      'warm-up of said failed for good: bad model',
      'warm-up of once failed for good: down'
    ])
    expect(app.readiness.state).toBe('starting')
  })

  it('do not take a lost connection for fatal because mysql says so', async () => {
    const failure = (run: number) =>
      run === 1
        ? Object.assign(new Error('connect'), { fatal: true, code: 'ECONNREFUSED' })
        : Object.assign(new Error('lost'), { fatal: true, code: 'PROTOCOL_CONNECTION_LOST' })
    const db = flaky(2, failure)
    const { app } = await createService({ tasks: { db: { run: db.run, retry: SOON } } })
    await app.ready()
    await eventually(async () => expect(await app.warmup.get('db')).toBe('run 3'))
  })

  it('start afresh when one that failed for good is asked again', async () => {
    const once = flaky(1)
    const { app } = await createService({
      tasks: { once: { run: once.run, gate: false, retry: false } }
    })
    await app.ready()
    await eventually(() =>
      expect(app.warmup.report()).toMatchObject({ once: { status: 'failed' } })
    )
    expect(await app.warmup.get('once')).toBe('run 2')
    expect(app.warmup.report()).toMatchObject({ once: { status: 'done', attempts: 2 } })
  })

  it('run side by side where they can, and after what they need', async () => {
    const events: string[] = []
    const [db, cache] = [controlled(), controlled()]
    const { app } = await createService({
      tasks: {
        api: { run: () => events.push('api'), after: ['tenants', 'cache'] },
        tenants: { run: () => events.push('tenants'), after: ['db'] },
        db: () => db.promise,
        cache: () => cache.promise
      }
    })
    await app.ready()
    expect(app.warmup.report()).toMatchObject({
      db: { status: 'running' },
      cache: { status: 'running' },
      tenants: { status: 'waiting', attempts: 0 },
      api: { status: 'waiting', attempts: 0 }
    })
    db.land('db')
    await eventually(() => expect(events).toEqual(['tenants']))
    cache.land('cache')
    await eventually(() => expect(events).toEqual(['tenants', 'api']))
  })

  it('wait, when asked early, for what they need', async () => {
    const attempts = [controlled(), controlled()]
    let runs = 0
    const { app } = await createService({
      tasks: {
        db: { run: () => attempts[runs++]?.promise, retry: SOON },
        tenants: {
          run: async () => `tenants of ${String(await app.warmup.get('db'))}`,
          after: ['db']
        }
      }
    })
    await app.ready()
    const early = app.warmup.get('tenants')
    attempts[0]?.crash(new Error('down'))
    await expect(early).rejects.toThrow('down')
    const next = app.warmup.get('tenants')
    attempts[1]?.land('db')
    expect(await next).toBe('tenants of db')
    expect(app.warmup.report()).toMatchObject({ tenants: { attempts: 1 } })
  })

  it('are disposed of in reverse when the app closes, whatever one of them throws', async () => {
    const disposed: string[] = []
    const made = (name: string, after: string[]) => ({
      run: () => name,
      after,
      dispose: (value: string) => {
        disposed.push(value)
        if (value === 'tenants') throw new Error('no')
      }
    })
    const { app, log } = await createService({
      tasks: {
        api: made('api', ['tenants']),
        tenants: made('tenants', ['db']),
        db: made('db', [])
      }
    })
    await app.ready()
    await app.warmup.get('api')
    await app.close()
    expect(disposed).toEqual(['api', 'tenants', 'db'])
    expect(log.map(({ msg }) => msg)).toContain('warm-up of tenants could not be disposed of: no')
  })

  it('serve the stale value while they refresh, then dispose of it', async () => {
    const next = controlled()
    const disposed: string[] = []
    const served: unknown[] = []
    let runs = 0
    const { app } = await createService({
      tasks: {
        config: {
          run: () => (++runs === 1 ? 'old' : next.promise),
          dispose: async (value: string) => {
            disposed.push(value)
            if (value === 'old') served.push(await app.warmup.get('config'))
          }
        }
      }
    })
    await app.ready()
    expect(await app.warmup.get('config')).toBe('old')
    const refreshed = app.warmup.refresh('config')
    await eventually(() =>
      expect(app.warmup.report()).toMatchObject({ config: { status: 'done', refreshing: true } })
    )
    expect(await app.warmup.get('config')).toBe('old')
    expect(disposed).toEqual([])
    next.land('new')
    expect(await refreshed).toBe('new')
    expect(await app.warmup.get('config')).toBe('new')
    await eventually(() => expect([disposed, served]).toEqual([['old'], ['new']]))
    expect(app.warmup.report().config).not.toHaveProperty('refreshing')
    await app.close()
    expect(disposed).toEqual(['old', 'new'])
  })

  it('keep the old value when a refresh fails, and report it until one succeeds', async () => {
    let runs = 0
    const run = () => {
      if (++runs === 2 || runs === 3) throw new Error('no luck')
      return runs
    }
    const { app, log } = await createService({ tasks: { config: run } })
    await app.ready()
    await app.warmup.get('config')
    await expect(app.warmup.refresh('config')).rejects.toThrow('no luck')
    await expect(app.warmup.refresh('config')).rejects.toThrow('no luck')
    expect(await app.warmup.get('config')).toBe(1)
    expect(app.warmup.report()).toMatchObject({ config: { status: 'done', error: 'no luck' } })
    expect(await app.warmup.refresh('config')).toBe(4)
    expect(app.warmup.report().config).not.toHaveProperty('error')
    const told = log.filter(({ msg }) => msg.startsWith('warm-up')).map(({ msg }) => msg)
    expect(told).toEqual([
      'warm-up of config could not be refreshed: no luck',
      'warm-up of config succeeded after 2 failures'
    ])
  })

  it('end at once when the service drains, and nothing new begins', async () => {
    const signals: AbortSignal[] = []
    const { app } = await createService({
      tasks: {
        stuck: ({ signal }) => new Promise(() => void signals.push(signal)),
        blocked: { run: () => 'never', after: ['stuck'] },
        retried: { run: flaky(99).run, retry: { min: 600_000, max: 600_000 } },
        there: () => 'there'
      }
    })
    await app.ready()
    const [stuck, retried] = [
      app.warmup.get('stuck'),
      app.warmup.get('retried').catch(() => app.warmup.get('retried'))
    ]
    await eventually(() => expect(app.warmup.report().retried).toHaveProperty('nextAttempt'))
    void app.readiness.drain('SIGTERM')
    for (const waiting of [stuck, retried, app.warmup.get('blocked')]) {
      await expect(waiting).rejects.toMatchObject({
        code: 'MUSTER_ERR_WARMUP_STOPPED',
        message: 'The warm-up was stopped: SIGTERM'
      })
    }
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
    expect(await app.warmup.get('there')).toBe('there')
    await app.close()
  })

  it('do not begin, and gate nothing, where warm-up is off: they run when they are asked', async () => {
    let runs = 0
    const { app } = await createService({
      tasks: {
        db: { run: () => 'db', gate: 'listen' },
        tenants: { run: () => ++runs, after: ['db'] }
      },
      warmup: false
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    await app.readiness.whenReady()
    expect(app.warmup.report()).toMatchObject({
      db: { status: 'idle' },
      tenants: { status: 'idle' }
    })
    expect([runs, await app.warmup.get('tenants'), runs]).toEqual([0, 1, 1])
    expect(app.warmup.report()).toMatchObject({ db: { status: 'done' } })
  })

  it('are typed where their values are declared', async () => {
    const { app } = await createService({ tasks: { tenants: () => new Map([['a', 1]]) } })
    await app.ready()
    expectTypeOf(app.warmup.get('tenants')).resolves.toEqualTypeOf<Map<string, number>>()
    expectTypeOf(() => app.warmup.get('other')).returns.resolves.toBeUnknown()
    expect((await app.warmup.get('tenants')).get('a')).toBe(1)
  })
})
