import { type LeaseStore, redisLeases } from '@muster/leases'
import {
  eventually,
  type RedisCluster,
  type RedisSentinels,
  startRedisCluster,
  startRedisSentinels
} from '@muster/testkit'
import { Cluster } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { register, send, startOrchestrator } from './raw-client.ts'

const IDS = Array.from({ length: 20 }, (_, i) => `service-${i}`)
const TTL = 60_000
/** ms in which there must be an answer, whatever it says. */
const PATIENCE = 5_000

interface Failure {
  status: number
  type: string | undefined
  body: string
}

let sentinels: RedisSentinels
let cluster: RedisCluster

beforeAll(async () => {
  ;[sentinels, cluster] = await Promise.all([startRedisSentinels(), startRedisCluster()])
}, 30_000)
afterAll(() => Promise.all([sentinels.close(), cluster.close()]))

describe('a master that is killed', () => {
  it('behind Sentinel: requests fail in time and with a code, then all goes on without registering anew', async () => {
    const { name, servers } = sentinels
    const store = redisLeases({ redis: { sentinels: sentinels.sentinels, name }, ttl: TTL })
    await survives(store, async () => {
      expect(await servers[0]?.command('WAIT 1 2000')).toBe(':1\r\n')
      await servers[0]?.kill()
    })
    expect(await sentinels.masterOtherThan(servers[0]?.port ?? 0)).toBe(servers[1]?.port)
  }, 30_000)

  it('in a Cluster: the same', async () => {
    const client = new Cluster(cluster.nodes)
    const namespace = await namespaceOnFirst()
    const store = redisLeases({ redis: client, namespace, ttl: TTL })
    await survives(store, async () => {
      expect(await cluster.servers[0]?.command('WAIT 1 2000')).toBe(':1\r\n')
      await cluster.servers[0]?.kill()
    })
    expect(await cluster.masterOf(`muster:{${namespace}}:due`)).toBe(3)
    client.disconnect()
  }, 30_000)

  /** A namespace on the master that has a replica. */
  async function namespaceOnFirst(): Promise<string> {
    for (let at = 0; ; at++) {
      if ((await cluster.masterOf(`muster:{n${at}}:due`)) === 0) return `n${at}`
    }
  }

  async function survives(store: LeaseStore, kill: () => Promise<void>): Promise<void> {
    const rejections: unknown[] = []
    const onRejection = (error: unknown): void => void rejections.push(error)
    process.on('unhandledRejection', onRejection)
    const { app, port } = await startOrchestrator({ store })
    for (const id of IDS) expect((await register(port, { id })).status).toBe(201)
    await kill()

    // Kept, so that one bad answer is not forgotten over the good ones that follow.
    const failures: Failure[] = []
    let slowest = 0
    const ping = async (id: string): Promise<number> => {
      const begun = performance.now()
      const { status, headers, body } = await send(port, 'PUT', `/services/${id}/$ping`)
      const took = performance.now() - begun
      if (status !== 200) failures.push({ status, type: headers['content-type'], body })
      slowest = Math.max(slowest, took)
      return status
    }
    await eventually(
      async () => expect(new Set(await Promise.all(IDS.map(ping)))).toEqual(new Set([200])),
      { deadline: 20_000, every: 100 }
    )
    expect(slowest).toBeLessThan(PATIENCE)
    expect(failures).not.toEqual([])
    for (const { status, type, body } of failures) {
      expect(type).toMatch(/^application\/problem\+json/)
      expect({ ...JSON.parse(body), answered: status }).toMatchObject({
        answered: 503,
        status: 503,
        code: expect.stringMatching(/^MUSTER_ERR_STORE_/)
      })
    }
    const { services } = JSON.parse((await send(port, 'GET', '/services')).body)
    expect(services.map(({ id }: { id: string }) => id)).toEqual(IDS.toSorted())
    expect(rejections).toEqual([])
    process.off('unhandledRejection', onRejection)
    await app.close()
    await store.close()
  }
})
