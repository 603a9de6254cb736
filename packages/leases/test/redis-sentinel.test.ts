import { redisLeases } from '@muster/leases'
import { eventually, type RedisSentinels, startRedisSentinels } from '@muster/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { leaseStoreContract, replay } from './lease-store-contract.ts'
import { watch } from './watching.ts'

let redis: RedisSentinels

beforeAll(async () => {
  redis = await startRedisSentinels()
}, 30_000)
afterAll(() => redis.close())

function source() {
  return { sentinels: redis.sentinels, name: redis.name }
}

leaseStoreContract('Redis behind Sentinel', (options) =>
  redisLeases({ redis: source(), ...options })
)

describe('Redis behind Sentinel', () => {
  it('follows to the new master at once, though the old one goes on answering', async () => {
    const options = { redis: source(), namespace: 'failover', ttl: 60_000 }
    const [writer, reader] = [redisLeases(options), redisLeases(options)]
    const watched = watch(reader)
    const key = (id: string) => ({ service: 'billing', id, incarnation: 'one' })
    await writer.put(key('before'), {})

    await redis.failover()
    const [old, now] = redis.servers
    await eventually(
      async () => {
        expect(await writer.put(key('after'), {})).toBe('same')
        expect(await now?.command('ZCARD muster:{failover}:due')).toBe(':2\r\n')
      },
      { deadline: 5_000 }
    )
    expect(await old?.command('INFO replication')).toContain('role:master')
    expect(await writer.renew(key('before'))).toBe('ok')
    const known = ['after#one {}', 'before#one {}']
    await eventually(() => expect(replay(watched.events)).toEqual(known))
    await writer.put(key('last'), {})
    await eventually(() => expect(replay(watched.events)).toEqual([...known, 'last#one {}']))
    await Promise.all([writer.close(), reader.close()])
  }, 30_000)
})
