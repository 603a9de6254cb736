import Fastify from 'fastify'
import { describe, expect, it } from 'vitest'
import { type Notifier, readiness } from '../src/index.ts'
import { markerFile, s6, systemd } from '../src/notify.ts'
import { createService, listen } from './service.ts'

describe('options of notifiers', () => {
  it.each([
    [() => markerFile({ part: 'a/b' }), 'markerFile: option "part"'],
    [() => markerFile({ path: '/run' } as object), 'markerFile: unknown option "path"'],
    [() => systemd({ reload: true } as object), 'systemd: option "reload"'],
    [() => s6({ fd: -1 }), 's6: option "fd"']
  ])('%s is refused: %s', (create, message) => {
    expect(create).toThrow(message)
    expect(create).toThrow(expect.objectContaining({ code: 'MUSTER_ERR_OPTION' }))
  })
})

describe('a notifier of the application', () => {
  it('is told of each change, and when it is over; what it throws is logged and no more', async () => {
    const told: string[] = []
    const own: Notifier = {
      name: 'the pager',
      present: () => true,
      start: ({ identity }) => ({
        change({ state }) {
          told.push(`${identity.service} ${state}`)
          throw new Error('nobody there')
        },
        close: () => void told.push('closed')
      })
    }
    const absent: Notifier = { ...own, present: () => false }
    const app = await createService({ notify: [own, absent] })
    await app.inject('/')
    expect(told).toEqual([])
    await listen(app)
    await app.readiness.whenReady()
    app.readiness.hold('reload')
    await app.close()
    expect(told).toEqual(['test ready', 'test unready', 'test draining', 'closed'])
  })
})

describe('options', () => {
  it.each([
    [{ timeout: Infinity }, 'option "timeout": received Infinity'],
    [{ timeout: '30s' }, 'option "timeout": expected number but received "30s"'],
    [{ tiemout: 1 }, 'unknown option "tiemout"'],
    [{ service: 'Not A Slug' }, 'option "service": expected a slug'],
    [{ instanceId: 'a/b' }, 'option "instanceId": expected 1 to 128 characters'],
    [{ probe: { path: 'livez' } }, 'option "probe.path"'],
    [{ probe: 'udp' }, 'option "probe": expected (false | "tcp" | Object) but received "udp"'],
    [{ checks: { db: 'select 1' } }, 'option "checks.db"'],
    [
      { checks: { db: { check: () => {}, interval: 0 } } },
      'option "checks.db.interval": expected >=1'
    ],
    [{ checks: { db: { check: () => {}, every: 1 } } }, 'unknown option "checks.db.every"'],
    [{ gate: 'loose' }, 'option "gate": expected (boolean | "strict") but received "loose"'],
    [{ routes: { live: 'livez' } }, 'option "routes.live"'],
    [{ notify: ['systemd'] }, 'option "notify.0": expected a notifier such as systemd()'],
    [{ pressure: { maxLag: 1 } }, 'unknown option "pressure.maxLag"'],
    [{ pressure: { maxEventLoopDelay: -1 } }, 'option "pressure.maxEventLoopDelay"'],
    [{ listener: {} }, 'option "listener.port"'],
    [{ listener: { port: 70_000 } }, 'option "listener.port"'],
    [{ listener: { port: 1 }, routes: false }, '"listener" has nothing to serve'],
    [
      { onFailed: 'explode' },
      'option "onFailed": expected ("close" | "stay") but received "explode"'
    ]
  ])('%j is refused at registration: %s', async (options, message) => {
    const app = Fastify()
    const registering = app.register(readiness, options as object)
    await expect(registering).rejects.toThrow(message)
    await expect(registering).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
  })

  it('are checked by the compiler as well', () => {
    const app = Fastify()
    // @ts-expect-error a time is a number
    const wrong = () => app.register(readiness, { timeout: '30s' })
    // @ts-expect-error no such option
    const unknown = () => app.register(readiness, { tiemout: 30_000 })
    expect([wrong, unknown]).toHaveLength(2)
  })

  it('are given once: a second registration says so', async () => {
    const app = Fastify()
    await app.register(readiness, { service: 'one' })
    await expect(app.register(readiness, { service: 'two' })).rejects.toThrow('already registered')
  })
})
