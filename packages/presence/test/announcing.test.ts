import { memoryLeases, redisLeases, type LeaseStore } from '@muster/leases'
import type { PresenceOptions } from '@muster/presence'
import { eventually, freePort, type RedisServer, startRedis } from '@muster/testkit'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, expectTypeOf, it, onTestFinished } from 'vitest'
import { createService } from './service.ts'

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.close())

/** A namespace of its own, and a reader of it. */
function registry(): { options: PresenceOptions; reader: LeaseStore } {
  const namespace = randomUUID()
  const reader = redisLeases({ redis: server.url, namespace, ttl: 15_000 })
  onTestFinished(() => reader.close())
  return { options: { redis: server.url, namespace }, reader }
}

async function statuses(reader: LeaseStore): Promise<unknown[]> {
  return (await reader.list('billing')).map(({ record }) => record['status'])
}

describe('announcing', () => {
  it('follows readiness from starting to draining, and is gone when the app is closed', async () => {
    const { options, reader } = registry()
    const { app, listen } = await createService(options)
    const hold = app.readiness.hold('migrations')
    await listen()
    await eventually(async () => expect(await statuses(reader)).toEqual(['starting']))
    hold.release()
    await eventually(async () => expect(await statuses(reader)).toEqual(['ready']))
    const pressure = app.readiness.hold('pressure')
    await eventually(async () => expect(await statuses(reader)).toEqual(['unready']))
    pressure.release()
    await app.readiness.drain()
    expect(await statuses(reader)).toEqual(['draining'])
    await app.close()
    expect(await reader.services()).toEqual([])
  })

  it('a bare close withdraws first, while a request in flight ends', async () => {
    const { options, reader } = registry()
    const { app, listen } = await createService(options)
    const seen: unknown[] = []
    app.get('/slow', async () => {
      await eventually(async () => expect(await statuses(reader)).toEqual(['draining']))
      seen.push(...(await statuses(reader)))
      return 'done'
    })
    const url = await listen()
    await app.readiness.whenReady()
    const slow = fetch(`${url}/slow`, { headers: { connection: 'close' } })
    await new Promise<void>((resolve) => app.server.once('request', () => resolve()))
    await app.close()
    expect((await slow).status).toBe(200)
    expect(seen).toEqual(['draining'])
    expect(await reader.services()).toEqual([])
  })

  it('announces who it is, where it is reached, and its metadata', async () => {
    const { options, reader } = registry()
    const { app, listen } = await createService({ ...options, metadata: { zone: 'a' } })
    const url = await listen()
    await eventually(async () => expect(await statuses(reader)).toEqual(['ready']))
    const { service, instanceId, incarnation, startedAt, pid, hostname } = app.readiness.identity
    expect(await app.presence.instances('billing')).toEqual([
      expect.objectContaining({
        service,
        instanceId,
        incarnation,
        startedAt,
        pid,
        hostname,
        url,
        status: 'ready',
        ready: true,
        serving: true,
        terminating: false,
        suspect: false,
        stale: 0,
        metadata: { zone: 'a' }
      })
    ])
    expect(await app.presence.services()).toEqual(['billing'])
    expect(app.presence.self).toEqual({
      service,
      instanceId,
      incarnation,
      status: 'ready',
      state: 'present'
    })
    expect(app.readiness.report().parts['presence']).toEqual(app.presence.self)
  })

  it('takes the app.redis of @fastify/redis, and leaves it open', async () => {
    const { default: redis } = await import('@fastify/redis')
    const { default: Fastify } = await import('fastify')
    const { presence } = await import('@muster/presence')
    const app = Fastify()
    onTestFinished(() => app.close())
    await app.register(redis, { url: server.url })
    await app.register(presence, { service: 'billing', redis: app.redis, namespace: randomUUID() })
    await app.listen({ port: 0, host: '127.0.0.1' })
    await eventually(async () =>
      expect(await app.presence.instances('billing')).toMatchObject([{ ready: true }])
    )
    expect(await app.redis.ping()).toBe('PONG')
  })

  it('nothing leaves the process under inject()', async () => {
    const { options, reader } = registry()
    const { app } = await createService(options)
    expect((await app.inject('/')).statusCode).toBe(200)
    expect(app.presence.self.state).toBe('joining')
    await app.close()
    expect(await reader.services()).toEqual([])
    expect(await server.command(`CLIENT LIST`)).not.toContain('nobody')
  })

  it('registers readiness itself where it is missing', async () => {
    const { presence } = await import('@muster/presence')
    const { default: Fastify } = await import('fastify')
    const app = Fastify()
    onTestFinished(() => app.close())
    await app.register(presence, { service: 'alone', namespace: randomUUID() })
    await app.listen({ port: 0, host: '127.0.0.1' })
    await app.readiness.whenReady()
    await eventually(async () =>
      expect(await app.presence.instances('alone')).toMatchObject([{ ready: true }])
    )
  })

  it('an app that is closed while it starts leaves nothing behind', async () => {
    const { options, reader } = registry()
    for (let round = 0; round < 20; round++) {
      const { app } = await createService(options)
      app.listen({ port: 0, host: '127.0.0.1' }).catch(() => {})
      const turns = round % 10
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
      await app.close()
    }
    expect(await reader.services()).toEqual([])
  })

  it('a failed service is not announced any more', async () => {
    const { options, reader } = registry()
    const { app, listen } = await createService(options, { timeout: 300, onFailed: 'stay' })
    app.readiness.hold('for ever')
    await listen()
    await eventually(async () => expect(await statuses(reader)).toEqual(['starting']))
    await eventually(async () => expect(await statuses(reader)).toEqual([]))
    expect(app.presence.self.state).toBe('left')
  })

  it('update() tells the others at once, and its parts win over those of the function', async () => {
    const { options, reader } = registry()
    let load = 1
    const metadata = () => ({ zone: 'a', load })
    const { app, listen } = await createService({ ...options, metadata })
    await listen()
    await eventually(async () => expect(await statuses(reader)).toEqual(['ready']))
    await app.presence.update({ load: 7 })
    const stored = async () => (await reader.list('billing'))[0]?.record['metadata']
    expect(await stored()).toEqual({ zone: 'a', load: 7 })
    load = 2
    await app.presence.update({ zone: 'b' })
    expect(await stored()).toEqual({ zone: 'b', load: 7 })
  })

  it('a function is asked at each heartbeat, and one that fails does not cost the heartbeat', async () => {
    const { options, reader } = registry()
    let load = 1
    let fails = false
    const metadata = () => {
      if (fails) throw new Error('no load')
      return { load }
    }
    const { listen, warnings, log } = await createService({
      ...options,
      metadata,
      heartbeat: 100,
      ttl: 600
    })
    await listen()
    const stored = async () => (await reader.list('billing'))[0]?.record['metadata']
    await eventually(async () => expect(await stored()).toEqual({ load: 1 }))
    load = 2
    await eventually(async () => expect(await stored()).toEqual({ load: 2 }))
    fails = true
    await eventually(() => expect(log.some(({ msg }) => msg.includes('metadata'))).toBe(true))
    const end = performance.now() + 1_000
    while (performance.now() < end) expect(await stored()).toEqual({ load: 2 })
    expect(warnings.length).toBeLessThanOrEqual(1)
  })

  it('refuses metadata that is cyclic or larger than 16 KiB', async () => {
    const { options } = registry()
    const { app } = await createService(options)
    const cyclic: Record<string, unknown> = {}
    cyclic['self'] = cyclic
    for (const metadata of [cyclic, { big: 'x'.repeat(1_000_000) }, [] as never]) {
      await expect(app.presence.update(metadata)).rejects.toMatchObject({
        code: 'MUSTER_ERR_METADATA'
      })
    }
    await expect(createService({ ...options, metadata: cyclic })).rejects.toMatchObject({
      code: 'MUSTER_ERR_METADATA'
    })
  })
})

describe('staying', () => {
  it('what was lost is put again with the full record within a beat, by one loop', async () => {
    const { options, reader } = registry()
    const { app, listen } = await createService({ ...options, heartbeat: 200, ttl: 1_000 })
    await listen()
    await eventually(async () => expect(await statuses(reader)).toEqual(['ready']))
    await server.command('FLUSHALL')
    // Who saw it before keeps it as suspect; a new reader sees that it is gone.
    expect(await reader.list('billing')).toMatchObject([{ suspect: true }])
    const other = redisLeases({ redis: server.url, namespace: `${options.namespace}`, ttl: 15_000 })
    onTestFinished(() => other.close())
    expect(await statuses(other)).toEqual([])
    await eventually(async () => expect(await statuses(other)).toEqual(['ready']), {
      deadline: 1_200
    })
    expect(await reader.list('billing')).toMatchObject([{ suspect: false }])
    expect(app.presence.self.state).toBe('present')
  })

  it('an event loop that was blocked for longer than the TTL lapses and is back', async () => {
    const { options, reader } = registry()
    const { listen } = await createService({ ...options, heartbeat: 100, ttl: 300, grace: 100 })
    await listen()
    await eventually(async () => expect(await statuses(reader)).toEqual(['ready']))
    const end = performance.now() + 700
    while (performance.now() < end);
    await eventually(async () => expect(await statuses(reader)).toEqual(['ready']), {
      deadline: 1_000
    })
  })

  it('of two starts with one id the newer holds it, and survives the leave of the older', async () => {
    const { options, reader } = registry()
    const id = { instanceId: 'one' }
    const fast = { ...options, heartbeat: 100, ttl: 5_000 }
    const older = await createService(fast, id)
    let fenced = 0
    older.app.presence.on('fenced', () => fenced++)
    await older.listen()
    await eventually(async () => expect(await statuses(reader)).toEqual(['ready']))
    const newer = await createService(fast, id)
    await newer.listen()
    await eventually(() => expect(older.app.presence.self.state).toBe('fenced'))
    await older.app.presence.update({ fights: true })
    await older.app.close()
    const [only, ...others] = await reader.list('billing')
    expect(others).toEqual([])
    expect(only).toMatchObject({ incarnation: newer.app.presence.self.incarnation })
    expect(newer.app.presence.self.state).toBe('present')
    expect(fenced).toBe(1)
    expect(older.warnings).toEqual([expect.stringContaining('another start')])
  })
})

describe('without Redis', () => {
  it('is kept in memory, which one line says', async () => {
    const { listen, app, log } = await createService({ namespace: randomUUID() })
    await listen()
    await eventually(async () =>
      expect(await app.presence.instances('billing')).toMatchObject([{ status: 'ready' }])
    )
    expect(log.filter(({ msg }) => msg.includes('memory of this process'))).toHaveLength(1)
  })

  it('a store that is handed in is used and not closed', async () => {
    const store = memoryLeases({ namespace: randomUUID(), ttl: 15_000 })
    const { listen, app } = await createService({ store })
    await listen()
    await eventually(async () => expect(await statuses(store)).toEqual(['ready']))
    const watching = (async () => {
      for await (const event of app.presence.watch()) if (event.type === 'leave') return
    })()
    await app.close()
    await watching
    expect(await store.services()).toEqual([])
  })
})

describe('Redis away', () => {
  it('neither boot nor close waits for it', async () => {
    const redis = `redis://127.0.0.1:${await freePort()}`
    const { app, listen, warnings, log } = await createService({ redis })
    const url = await listen()
    await app.readiness.whenReady()
    expect(await (await fetch(url, { headers: { connection: 'close' } })).text()).toBe('served')
    await eventually(() => expect(app.presence.self.state).toBe('lost'))
    await expect(app.presence.instances('billing')).rejects.toMatchObject({
      code: 'MUSTER_ERR_STORE_UNAVAILABLE'
    })
    const started = performance.now()
    await app.close()
    expect(performance.now() - started).toBeLessThan(1_000)
    expect(warnings.length).toBeLessThanOrEqual(1)
    expect(log.filter(({ msg }) => msg.includes('unavailable'))).toHaveLength(1)
  })

  it('`required` keeps the service from being ready until it was announced', async () => {
    const late = await startRedis()
    onTestFinished(() => late.close())
    await late.kill()
    const { app, listen } = await createService({ redis: late.url, required: true })
    await listen()
    await eventually(() => expect(app.presence.self.state).toBe('lost'))
    expect(app.readiness.state).toBe('starting')
    await late.restart()
    await app.readiness.whenReady({ signal: AbortSignal.timeout(5_000) })
    expect(app.presence.self.state).toBe('present')
  })

  it('the others are shown as they were last seen, with for how long', async () => {
    const away = await startRedis()
    onTestFinished(() => away.close())
    const { app, listen } = await createService({ redis: away.url })
    await listen()
    await eventually(async () =>
      expect(await app.presence.instances('billing')).toMatchObject([{ ready: true, stale: 0 }])
    )
    await away.kill()
    const [stale] = await app.presence.instances('billing')
    expect(stale).toMatchObject({ ready: true, stale: expect.any(Number) })
    expect(stale?.stale).toBeGreaterThan(0)
  })
})

describe('options', () => {
  it('are typed', () => {
    expectTypeOf<PresenceOptions['heartbeat']>().toEqualTypeOf<number | undefined>()
    // @ts-expect-error a number of ms
    const wrong: PresenceOptions = { ttl: '15s' }
    expect(wrong).toBeDefined()
  })

  it.each([
    [{ ttl: 10_000, heartbeat: 5_000 }, /ttl.*15000.*10000/],
    [{ heartbeat: -1 }, /heartbeat.*-1/],
    [{ redis: 'http://secret@redis' }, /redis.*not shown/],
    [{ redis: null }, /redis/],
    [{ namespace: 'a{b}' }, /namespace/],
    [{ metadata: 7 }, /metadata.*7/],
    [{ advertise: 'ftp://x' }, /advertise.*ftp/],
    [{ heartbeats: 1 }, /unknown option "heartbeats"/],
    [{ redis: 'redis://x', store: memoryLeases({ ttl: 15_000 }) }, /not both/]
  ])('%j is refused with what is allowed', async (options, message) => {
    await expect(createService(options as never)).rejects.toMatchObject({
      code: 'MUSTER_ERR_OPTION',
      message: expect.stringMatching(message)
    })
  })
})
