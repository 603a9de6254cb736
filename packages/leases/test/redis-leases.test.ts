import { type LeaseStore, redisLeases, type RedisLeaseOptions } from '@muster/leases'
import { eventually, freePort, type RedisServer, startRedis } from '@muster/testkit'
import { Redis } from 'ioredis'
import { Redis as Ioredis5 } from 'ioredis-5'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { leaseStoreContract } from './lease-store-contract.ts'

let server: RedisServer
const open: LeaseStore[] = []
const KEY = { service: 'billing', id: 'a', incarnation: 'one' }

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.close())
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()))
})

function leases(options: Partial<RedisLeaseOptions> = {}): LeaseStore {
  const store = redisLeases({ redis: server.url, ttl: 5_000, ...options })
  open.push(store)
  return store
}

function lines() {
  const warnings: string[] = []
  const infos: string[] = []
  return {
    warnings,
    infos,
    warn: (m: string) => warnings.push(m),
    info: (m: string) => infos.push(m)
  }
}

leaseStoreContract('Redis', (options) => redisLeases({ redis: server.url, ...options }))

describe('what redisLeases accepts', () => {
  it('a URL object', async () => {
    expect(await leases({ redis: new URL(server.url), namespace: 'url' }).put(KEY, {})).toBe('join')
  })

  it('options of ioredis, with a keyPrefix', async () => {
    const redis = { host: '127.0.0.1', port: server.port, keyPrefix: 'tenant:' }
    const store = leases({ redis, namespace: 'prefixed' })
    expect(await store.put(KEY, {})).toBe('join')
    expect(await store.renew(KEY)).toBe('ok')
    expect(await store.list('billing')).toHaveLength(1)
    expect(await server.command('EXISTS tenant:muster:{prefixed}:due')).toBe(':1\r\n')
    expect(await server.command('EXISTS muster:{prefixed}:due')).toBe(':0\r\n')
  })

  it('a client of ioredis 5', async () => {
    const client = new Ioredis5(server.url)
    const store = leases({ redis: client, namespace: 'ioredis-5' })
    expect(await store.put(KEY, {})).toBe('join')
    expect(await store.list('billing')).toMatchObject([KEY])
    const events = store.watch()
    expect((await events.next()).value).toMatchObject({ type: 'snapshot', leases: [KEY] })
    await store.close()
    expect(await client.ping()).toBe('PONG')
    client.disconnect()
  })

  it('a client, which it duplicates and does not close', async () => {
    const client = new Redis(server.url)
    const store = leases({ redis: client, namespace: 'client' })
    expect(await store.put(KEY, {})).toBe('join')
    await store.close()
    expect(await client.ping()).toBe('PONG')
    client.disconnect()
  })

  it.each([
    [{ redis: 42 }, /redis/],
    [{ redis: 'http://secret@host' }, /redis.*value not shown/],
    [{ redis: new URL('http://secret@host') }, /redis.*value not shown/],
    [{ redis: 'redis://host', logger: {} }, /logger/],
    [{ redis: 'redis://host', timeout: -1 }, /timeout.*-1/]
  ])('says what is wrong with %j', (options, message) => {
    const attempt = () => redisLeases({ ttl: 1_000, ...options } as never)
    expect(attempt).toThrow(message)
    expect(attempt).not.toThrow(/secret/)
    expect(attempt).toThrow(expect.objectContaining({ code: 'MUSTER_ERR_OPTION' }))
  })
})

describe('the first reading of a service', () => {
  // In one round trip, in two, and in pages.
  it.each([1, 100, 2_000, 12_000])('finds all of %i instances', async (count) => {
    const namespace = `first-${count}`
    const writer = leases({ namespace, ttl: 60_000 })
    const ids = Array.from({ length: count }, (_, at) => `i${at}`)
    for (let at = 0; at < count; at += 500) {
      await Promise.all(
        ids
          .slice(at, at + 500)
          .map((id) =>
            writer.put({ ...KEY, id }, { at: Number(id.slice(1)), text: 'x'.repeat(80) })
          )
      )
    }
    const found = await leases({ namespace }).entries('billing')
    expect(found.map(({ id }) => id).sort()).toEqual(ids.toSorted())
    expect(found.every(({ id, record }) => Number(id.slice(1)) === record['at'])).toBe(true)
  })

  it('works on a server that does not know the scripts, and is right about what it then keeps', async () => {
    const namespace = 'unknown-scripts'
    const writer = leases({ namespace })
    await writer.put(KEY, { at: 1 })
    await server.command('SCRIPT FLUSH')
    const reader = leases({ namespace })
    expect(await reader.entries('billing')).toMatchObject([{ ...KEY, record: { at: 1 } }])
    await writer.put(KEY, { at: 2 })
    expect(await reader.entries('billing')).toMatchObject([{ ...KEY, record: { at: 2 } }])
  })

  it('leaves out what is over its deadline', async () => {
    const namespace = 'first-dead'
    await leases({ namespace, ttl: 100 }).put(KEY, {})
    await eventually(async () =>
      expect(await leases({ namespace, ttl: 100 }).entries('billing')).toEqual([])
    )
  })
})

describe('Redis away', () => {
  it('an operation is refused soon, and works by itself when there is a server', async () => {
    const logger = lines()
    const away = await startRedis()
    await away.kill()
    const store = leases({ redis: away.url, logger })
    const started = performance.now()
    await expect(store.put(KEY, {})).rejects.toMatchObject({
      code: 'MUSTER_ERR_STORE_UNAVAILABLE',
      message: expect.stringContaining('ECONNREFUSED')
    })
    await expect(store.list('billing')).rejects.toMatchObject({
      code: 'MUSTER_ERR_STORE_UNAVAILABLE'
    })
    expect(performance.now() - started).toBeLessThan(1_500)
    let reconnects = 0
    store.onReconnect(() => reconnects++)
    await away.restart()
    await eventually(async () => expect(await store.put(KEY, {})).toBe('join'), { deadline: 2_000 })
    expect(reconnects).toBe(1)
    expect(logger.warnings).toHaveLength(1)
    expect(logger.infos).toEqual([expect.stringContaining('back')])
    await away.close()
  })

  it('a server that hangs is given up after `timeout` and found again', async () => {
    const hung = await startRedis()
    const logger = lines()
    const store = leases({ redis: hung.url, timeout: 300, logger })
    await store.put(KEY, {})
    hung.pause()
    const started = performance.now()
    await expect(store.renew(KEY)).rejects.toMatchObject({ code: 'MUSTER_ERR_STORE_UNAVAILABLE' })
    expect(performance.now() - started).toBeLessThan(1_000)
    await expect(store.renew(KEY)).rejects.toMatchObject({ code: 'MUSTER_ERR_STORE_UNAVAILABLE' })
    hung.resume()
    await eventually(async () => expect(await store.renew(KEY)).toBe('ok'), { deadline: 2_000 })
    expect(logger.warnings).toHaveLength(1)
    await hung.close()
  })

  it('constructing and closing need no server', async () => {
    const port = await freePort()
    const store = redisLeases({ redis: `redis://127.0.0.1:${port}`, ttl: 1_000 })
    const pending = store.renew(KEY).catch((error: Error) => error)
    await store.close()
    expect(await pending).toMatchObject({ code: 'MUSTER_ERR_STORE_UNAVAILABLE' })
  })

  it('after an empty restart the lease is gone, and back with one put', async () => {
    const other = await startRedis()
    const store = leases({ redis: other.url })
    await store.put(KEY, {})
    await other.restart({ empty: true })
    await eventually(async () => expect(await store.renew(KEY)).toBe('gone'), { deadline: 2_000 })
    expect(await store.put(KEY, { back: true })).toBe('join')
    expect(await store.list('billing')).toMatchObject([{ record: { back: true } }])
    await other.close()
  })
})
