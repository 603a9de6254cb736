import Fastify from 'fastify'
import { describe, expect, it } from 'vitest'
import { warmup } from '../src/index.ts'

const run = () => 'made'

describe('options', () => {
  it.each([
    [{}, 'option "tasks"'],
    [{ tasks: { db: 'connect' } }, 'option "tasks.db"'],
    [{ tasks: { db: {} } }, 'option "tasks.db.run"'],
    [{ tasks: { db: { run: 1 } } }, 'option "tasks.db.run": expected a function or an eager()'],
    [
      { tasks: { db: { run, gate: 'close' } } },
      'option "tasks.db.gate": expected ("listen" | "ready" | false) but received "close"'
    ],
    [{ tasks: { db: { run, timeout: Infinity } } }, 'option "tasks.db.timeout": received Infinity'],
    [{ tasks: { db: { run, retry: true } } }, 'option "tasks.db.retry"'],
    [{ tasks: { db: { run, retry: { min: 0 } } } }, 'option "tasks.db.retry.min": expected >=1'],
    [
      { tasks: { db: { run, retry: { min: 6_000 } } } },
      'option "tasks.db.retry": expected min (6000) to be no more than max (5000)'
    ],
    [{ tasks: { db: { run, dispose: 'end' } } }, 'option "tasks.db.dispose"'],
    [{ tasks: { db: { run, fallback: [] } } }, 'unknown option "tasks.db.fallback"'],
    [
      { tasks: { db: { run, after: ['cache'] } } },
      'option "tasks.db.after": received "cache"; the tasks are db'
    ],
    [
      { tasks: { db: { run, after: ['toString'] } } },
      'option "tasks.db.after": received "toString"'
    ],
    [{ tasks: { db: { run, after: ['db'] } } }, 'received a cycle, db → db'],
    [
      { tasks: { a: { run, after: ['b'] }, b: { run, after: ['c'] }, c: { run, after: ['b'] } } },
      'option "tasks.c.after": received a cycle, b → c → b'
    ],
    [{ tasks: {}, deadline: '60s' }, 'option "deadline": expected number but received "60s"'],
    [{ tasks: {}, warmup: 'no' }, 'option "warmup": expected boolean but received "no"'],
    [{ tasks: {}, eager: true }, 'unknown option "eager"']
  ])('%j is refused at registration: %s', async (options, message) => {
    const app = Fastify()
    const registering = app.register(warmup, options as never)
    await expect(registering).rejects.toThrow(message)
    await expect(registering).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
  })

  it('are checked by the compiler as well', () => {
    const app = Fastify()
    // @ts-expect-error no such gate
    const wrong = () => app.register(warmup, { tasks: { db: { run, gate: 'close' } } })
    // @ts-expect-error tasks are required
    const missing = () => app.register(warmup, {})
    // @ts-expect-error no value in place of a failed one
    const fallback = () => app.register(warmup, { tasks: { db: { run, fallback: [] } } })
    expect([wrong, missing, fallback]).toHaveLength(3)
  })

  it('are given once: a second registration says so', async () => {
    const app = Fastify()
    await app.register(warmup, { tasks: {} })
    await expect(app.register(warmup, { tasks: {} })).rejects.toThrow('already registered')
  })

  it('may name no task at all', async () => {
    const app = Fastify()
    await app.register(warmup, { tasks: {} })
    await app.ready()
    expect(app.warmup.report()).toEqual({})
    expect(() => app.warmup.get('db')).toThrow('there is no task "db"; there are: none')
    await app.close()
  })
})
