import Fastify from 'fastify'
import { describe, expect, it } from 'vitest'
import { readiness } from '../src/index.ts'

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
