// What a heartbeat costs the server.
import { redisLeases } from '@muster/leases'
import { Redis } from 'ioredis'
import { crowdedRedis, median, record, round, serverCpu } from './figures.js'

const BEATS = 20_000
const ROUNDS = 7

export async function heartbeat() {
  const server = await crowdedRedis(100_000)
  const redis = new Redis(server.url)
  const leases = redisLeases({ redis: server.url, namespace: 'bench', ttl: 600_000 })
  const keys = Array.from({ length: 1_000 }, (_, at) => ({
    service: 'billing',
    id: `i${at}`,
    incarnation: 'f00dcafe12345678'
  }))
  for (const [at, key] of keys.entries()) {
    await leases.put(key, record(at))
    await redis.set(`plain:billing:i${at}`, JSON.stringify(record(at)), 'EX', 600)
  }

  const costs = { expire: [], renew: [] }
  const ways = {
    expire: (at) => redis.expire(`plain:billing:i${at}`, 600),
    renew: (at) => leases.renew(keys[at])
  }
  for (let turn = 0; turn < ROUNDS; turn++) {
    for (const [way, beat] of Object.entries(ways)) {
      const before = await serverCpu(server)
      for (let sent = 0; sent < BEATS; sent += 100) {
        await Promise.all(Array.from({ length: 100 }, (_, at) => beat((sent + at) % 1_000)))
      }
      costs[way].push(((await serverCpu(server)) - before) * (1e6 / BEATS))
    }
  }
  redis.disconnect()
  await leases.close()
  await server.close()
  const [plain, ours] = [median(costs.expire), median(costs.renew)]
  console.log(`A heartbeat: µs of server CPU, medians of ${ROUNDS} × ${BEATS}`)
  console.table([
    { heartbeat: 'EXPIRE (never heals, not fenced)', µs: round(plain) },
    {
      heartbeat: '@muster/leases renew',
      µs: round(ours),
      ratio: round(ours / plain),
      'may be': '≤ 1.8'
    }
  ])
}
