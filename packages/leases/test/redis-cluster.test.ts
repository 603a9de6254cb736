import { redisLeases } from '@muster/leases'
import { eventually, type RedisCluster, startRedisCluster } from '@muster/testkit'
import { Cluster } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { leaseStoreContract, replay } from './lease-store-contract.ts'
import { watch } from './watching.ts'

let cluster: RedisCluster
let client: Cluster

beforeAll(async () => {
  cluster = await startRedisCluster()
  client = new Cluster(cluster.nodes)
}, 30_000)
afterAll(async () => {
  client.disconnect()
  await cluster.close()
})

leaseStoreContract('Redis Cluster', (options) => redisLeases({ redis: client, ...options }))

describe('Redis Cluster', () => {
  /** A namespace on the master that has a replica. */
  async function namespaceOnFirst(): Promise<string> {
    for (let at = 0; ; at++) {
      const namespace = `on-first-${at}-${Date.now()}`
      if ((await cluster.masterOf(`muster:{${namespace}}:due`)) === 0) return namespace
    }
  }

  it('goes on when its slot moves to another master, and while a master is replaced by its replica', async () => {
    const namespace = await namespaceOnFirst()
    const options = { redis: client, namespace, ttl: 60_000 }
    const [writer, reader] = [redisLeases(options), redisLeases(options)]
    const watched = watch(reader)
    const key = (id: string) => ({ service: 'billing', id, incarnation: 'one' })
    await writer.put(key('before'), {})

    await cluster.moveSlotOf(`muster:{${namespace}}:due`, 1)
    expect(await writer.put(key('moved'), {})).toBe('join')
    expect(await writer.renew(key('before'))).toBe('ok')

    await cluster.moveSlotOf(`muster:{${namespace}}:due`, 0)
    expect(await writer.put(key('moved-back'), {})).toBe('join')
    await eventually(() =>
      expect(replay(watched.events)).toEqual(['before#one {}', 'moved#one {}', 'moved-back#one {}'])
    )

    await eventually(async () => {
      expect(await cluster.servers[0]?.command('INFO replication')).toContain('state=online')
    })
    await cluster.servers[0]?.kill()
    await eventually(async () => expect(await writer.put(key('after'), {})).toBe('same'), {
      deadline: 20_000
    })
    expect(await cluster.masterOf(`muster:{${namespace}}:due`)).toBe(3)
    await eventually(() => expect(replay(watched.events)).toContain('after#one {}'))
    expect(replay(watched.events)).toHaveLength(4)
    await Promise.all([writer.close(), reader.close()])
  }, 40_000)
})
