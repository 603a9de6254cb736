// Redis goes away in every way it can, under traffic.
import { redisLeases } from '@muster/leases'
import { startRedis, startRedisCluster, startRedisSentinels } from '@muster/testkit'
import { Cluster, Redis } from 'ioredis'
import { setTimeout as pause } from 'node:timers/promises'
import { startInstance, startTraffic, timeUntil } from '../instance.js'

const HEARTBEAT = 500
/** One beat and a second; and 10 % that a beat may come later. */
const BACK_WITHIN = HEARTBEAT * 1.1 + 1_000

const FAULTS = {
  'Redis killed, then started with its data': {
    async begin(redis) {
      await redis.command('SAVE')
      await redis.kill()
    },
    end: (redis) => redis.restart()
  },
  'Redis killed, then started empty': {
    begin: (redis) => redis.kill(),
    end: (redis) => redis.restart({ empty: true })
  },
  'Redis hung (SIGSTOP)': {
    begin: (redis) => redis.pause(),
    end: (redis) => redis.resume()
  },
  'Redis out of memory': {
    async begin(redis) {
      await redis.command('CONFIG SET maxmemory 1')
      await redis.command('FLUSHALL')
    },
    end: (redis) => redis.command('CONFIG SET maxmemory 0')
  },
  'the password was changed': {
    async begin(redis) {
      await redis.command('FLUSHALL')
      await redis.command('CONFIG SET requirepass other')
      // Who is logged in stays so until the connection is cut.
      await asAdmin(redis, (admin) => admin.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes'))
    },
    end: (redis) => asAdmin(redis, (admin) => admin.config('SET', 'requirepass', ''))
  }
}

export async function* run({ long, random }) {
  for (const [fault, actions] of Object.entries(FAULTS)) {
    const redis = await startRedis()
    yield await during(fault, {
      redis: { url: redis.url },
      store: redisLeases({ redis: redis.url, ttl: 1_500, timeout: 300 }),
      begin: () => actions.begin(redis),
      end: () => actions.end(redis),
      away: (fault.includes('hung') && long ? 20_000 : 2_500) + random() * 500
    })
    await redis.close()
  }

  const sentinels = await startRedisSentinels()
  yield await during('failover by Sentinel', {
    redis: { sentinels: { sentinels: sentinels.sentinels, name: sentinels.name } },
    store: redisLeases({
      redis: { sentinels: sentinels.sentinels, name: sentinels.name },
      ttl: 1_500,
      timeout: 300
    }),
    begin: () => sentinels.failover(),
    end: async () => {},
    away: 0
  })
  await sentinels.close()

  const servers = await startRedisCluster()
  const { nodes } = servers
  const [first] = servers.servers
  const replica = servers.servers.at(-1)
  // To the master that has a replica.
  await servers.moveSlotOf('muster:{default}:due', 0)
  const cluster = new Cluster(nodes).on('error', () => {})
  yield await during('failover of a Cluster, when a master is killed', {
    redis: { nodes },
    store: redisLeases({ redis: cluster, ttl: 1_500, timeout: 300 }),
    begin: () => first.kill(),
    end: () =>
      timeUntil(async () => /cluster_state:ok/.test(await replica.command('CLUSTER INFO')), 30_000),
    away: 3_000
  })
  cluster.disconnect()
  await servers.close()
}

/** An instance lives through `begin` and `end` under traffic. */
async function during(fault, { redis, store, begin, end, away }) {
  const instance = startInstance({ redis })
  const url = await instance.url()
  const isPresent = async () =>
    (await store.get('faulty', 'one').catch(() => undefined))?.record.status === 'ready'
  await timeUntil(isPresent)
  const traffic = startTraffic(url)
  const before = instance.said(40).length

  await begin()
  await pause(away)
  await end()
  const back = await timeUntil(isPresent, 30_000)
  // A beat that works, so that the streak is over.
  await pause(HEARTBEAT * 1.5)

  const { requests, failed } = await traffic.stop()
  const lines = instance.said(40).length - before
  const { code } = await instance.end()
  await store.close()
  return {
    fault: `${fault}, for ${Math.round(away)} ms`,
    held: failed === 0 && back <= BACK_WITHIN && lines <= 1 && code === 0,
    result: `${failed} of ${requests} requests failed, present again after ${back} ms, ${lines} log lines, exit code ${code}`
  }
}

async function asAdmin({ port }, work) {
  const admin = new Redis({ port, password: 'other' })
  await work(admin)
  admin.disconnect()
}
