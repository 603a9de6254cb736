import { redisLeases } from '@muster/leases'
import {
  eventually,
  type RedisCluster,
  type RedisServer,
  startRedis,
  startRedisCluster,
  startRedisSentinels
} from '@muster/testkit'
import type { PresenceOptions } from '@muster/presence'
import type { FastifyInstance } from 'fastify'
import { Cluster } from 'ioredis'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createService } from './service.ts'

const HEARTBEAT = 400
const TTL = 1_500

interface Fault {
  name: string
  inflict: (server: RedisServer) => unknown
  recover: (server: RedisServer) => unknown
  /** The server's data is gone, so that a reader that was there keeps the instance as suspect. */
  loses?: true
  /** It is over so soon that a beat need not notice. */
  short?: true
}

const faults: Fault[] = [
  {
    name: 'killed, restarted empty',
    inflict: (server) => server.kill(),
    recover: (server) => server.restart({ empty: true })
  },
  {
    name: 'restarted with its data',
    inflict: async (server) => {
      await server.command('SAVE')
      await server.kill()
    },
    recover: (server) => server.restart()
  },
  {
    name: 'frozen',
    inflict: (server) => server.pause(),
    recover: (server) => server.resume()
  },
  {
    name: 'out of memory',
    inflict: (server) => server.command('CONFIG SET maxmemory 1'),
    recover: (server) => server.command('CONFIG SET maxmemory 0')
  },
  {
    name: 'read only',
    inflict: (server) => server.command('REPLICAOF 127.0.0.1 1'),
    recover: (server) => server.command('REPLICAOF NO ONE')
  },
  {
    name: 'another password',
    inflict: async (server) => {
      await server.command('ACL SETUSER muster resetpass >other')
      await server.command('CLIENT KILL USER muster')
    },
    recover: (server) => server.command('ACL SETUSER muster >secret')
  },
  {
    name: 'no right to EVAL',
    inflict: (server) => server.command('ACL SETUSER muster -eval -evalsha'),
    recover: (server) => server.command('ACL SETUSER muster +eval +evalsha')
  },
  {
    name: 'connection cut again and again',
    short: true,
    inflict: async (server) => {
      for (let cut = 0; cut < 10; cut++) {
        await server.command('CLIENT KILL USER muster')
        await pause(50)
      }
    },
    recover: () => {}
  },
  {
    name: 'scripts and data flushed',
    short: true,
    inflict: async (server) => {
      await server.command('SCRIPT FLUSH')
      await server.command('FLUSHALL')
    },
    recover: () => {}
  }
]

describe.concurrent('faults of Redis', () => {
  it.each(faults)('$name', { timeout: 30_000 }, async (fault) => {
    const cleanups: (() => Promise<void>)[] = []
    const finish = (cleanup: () => Promise<void>): void => void cleanups.unshift(cleanup)
    const server = await startRedis({ args: '--user muster on >secret ~* &* +@all'.split(' ') })
    finish(() => server.close())
    const redis = server.url.replace('//', '//muster:secret@')
    const options = { redis, heartbeat: HEARTBEAT, ttl: TTL, timeout: 500 }
    try {
      const { app, listen, warnings, log } = await createService(options, {}, finish)
      const url = await listen()
      await eventually(() =>
        expect(app.presence.self).toMatchObject({ state: 'present', status: 'ready' })
      )
      const traffic = startTraffic(url)

      await fault.inflict(server)
      if (!fault.short) await expectLoss(app, options)
      await fault.recover(server)
      const recovered = performance.now()

      // With a connection of its own, which has seen nothing before.
      const reader = redisLeases({ redis, ttl: TTL })
      finish(() => reader.close())
      await eventually(
        async () => {
          expect(await reader.list('billing')).toMatchObject([
            { record: { status: 'ready', url }, suspect: false }
          ])
        },
        { deadline: 10_000 }
      )
      await eventually(() => expect(app.presence.self.state).toBe('present'))
      // A connection that could not be made is tried again within 500 ms.
      expect(performance.now() - recovered).toBeLessThan(HEARTBEAT * 1.1 + 1_000)
      expect(warnings).toHaveLength(fault.short ? warnings.length : 1)
      expect(warnings.length).toBeLessThanOrEqual(fault.short ? 10 : 1)
      expect(log.filter(({ msg }) => msg.includes('is back'))).toHaveLength(warnings.length)
      expect(warnings.join()).not.toContain('secret')

      // One loop: a beat renews the lease, which runs one script.
      const before = await scriptsRun(server)
      await pause(HEARTBEAT * 5)
      const beats = (await scriptsRun(server)) - before
      expect(beats).toBeGreaterThanOrEqual(4)
      expect(beats).toBeLessThanOrEqual(6)

      expect(await traffic.stop()).toEqual({ failed: 0, served: expect.any(Number) })
    } finally {
      for (const cleanup of cleanups) await cleanup()
    }
  })
})

describe('a failover', () => {
  it('by a crash of the master behind Sentinel is over within a beat and a second', async () => {
    const redis = await startRedisSentinels()
    onTestFinished(() => redis.close())
    const source = { sentinels: redis.sentinels, name: redis.name }
    const options = { redis: source, heartbeat: HEARTBEAT, ttl: 10_000, timeout: 500 }
    const { app, listen, warnings } = await createService(options)
    const url = await listen()
    await eventually(() =>
      expect(app.presence.self).toMatchObject({ state: 'present', status: 'ready' })
    )
    const traffic = startTraffic(url)
    const [master] = redis.servers
    await master?.kill()
    await eventually(() => expect(app.presence.self.state).toBe('lost'))
    await redis.masterOtherThan(master?.port ?? 0)
    await eventually(() => expect(app.presence.self.state).toBe('present'), {
      deadline: HEARTBEAT * 1.1 + 1_000
    })
    expect(await app.presence.instances('billing')).toMatchObject([{ ready: true, stale: 0 }])
    expect(warnings).toHaveLength(1)
    expect((await traffic.stop()).failed).toBe(0)
  }, 40_000)

  it('in a Cluster costs no request, is told once, and others see the instance again', async () => {
    const cluster = await startRedisCluster()
    onTestFinished(() => cluster.close())
    const client = new Cluster(cluster.nodes)
    onTestFinished(() => client.disconnect())
    const rejections: unknown[] = []
    const onRejection = (error: unknown): void => void rejections.push(error)
    process.on('unhandledRejection', onRejection)
    onTestFinished(() => void process.off('unhandledRejection', onRejection))

    const namespace = await namespaceOnFirst(cluster)
    const options = { redis: client, namespace, heartbeat: HEARTBEAT, ttl: TTL, timeout: 500 }
    const { app, listen, warnings, log } = await createService(options)
    const other = await createService(options, { service: 'orders' })
    const [url] = await Promise.all([listen(), other.listen()])
    const traffic = startTraffic(url)
    const { incarnation } = app.readiness.identity
    const seen = () => other.app.presence.instances('billing', { age: true })
    const present = { incarnation, status: 'ready', ready: true, suspect: false, stale: 0 }
    await eventually(async () => expect(await seen()).toMatchObject([present]))

    expect(await cluster.servers[0]?.command('WAIT 1 2000')).toBe(':1\r\n')
    await cluster.servers[0]?.kill()
    await eventually(() => expect(app.presence.self.state).toBe('lost'))
    await eventually(async () => expect(await cluster.masterOf(dueKey(namespace))).toBe(3), {
      deadline: 20_000
    })
    const promoted = performance.now()
    await eventually(
      async () => {
        const since = performance.now() - promoted
        const instances = await seen()
        expect(instances).toMatchObject([present])
        // It was heard of by the new master, not only copied to it.
        expect(instances[0]?.age).toBeLessThan(since)
      },
      { deadline: 10_000 }
    )
    await eventually(() => expect(app.presence.self.state).toBe('present'))
    expect(warnings).toHaveLength(1)
    expect(log.filter(({ msg }) => msg.includes('is back'))).toHaveLength(1)
    expect(rejections).toEqual([])
    expect(await traffic.stop()).toEqual({ failed: 0, served: expect.any(Number) })
  }, 40_000)
})

function dueKey(namespace: string): string {
  return `muster:{${namespace}}:due`
}

/** A namespace on the master that has a replica. */
async function namespaceOnFirst(cluster: RedisCluster): Promise<string> {
  for (let at = 0; ; at++) {
    if ((await cluster.masterOf(dueKey(`n${at}`))) === 0) return `n${at}`
  }
}

/** Requests one after the other, as fast as they are answered in turns of 5 ms. */
function startTraffic(url: string) {
  let failed = 0
  let served = 0
  let stopped = false
  const done = (async () => {
    while (!stopped) {
      const ok = await fetch(url, { headers: { connection: 'close' } }).then(
        async (response) => (await response.text()) === 'served',
        () => false
      )
      if (ok) served++
      else failed++
      await pause(5)
    }
  })()
  return {
    async stop() {
      stopped = true
      await done
      return { failed, served }
    }
  }
}

async function expectLoss(app: FastifyInstance, options: PresenceOptions): Promise<void> {
  await eventually(() => expect(app.presence.self.state).toBe('lost'), { deadline: 5_000 })
  await expectQuickBootAndClose(options)
  // Several beats fail, and the lease runs out.
  await pause(TTL + 500)
}

async function expectQuickBootAndClose(options: PresenceOptions): Promise<void> {
  let close = async (): Promise<void> => {}
  const { app, listen } = await createService(
    options,
    { service: 'other' },
    (cleanup) => (close = cleanup)
  )
  const started = performance.now()
  await listen()
  await app.readiness.whenReady()
  const ready = performance.now()
  expect(ready - started).toBeLessThan(1_500)
  await close()
  expect(performance.now() - ready).toBeLessThan(3_000)
}

async function scriptsRun(server: RedisServer): Promise<number> {
  const stats = await server.command('INFO commandstats')
  const count = (name: string) =>
    Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
  return count('evalsha') + count('eval')
}
