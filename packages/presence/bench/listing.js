// Finding the instances of a service in a Redis that is shared with a million other keys.
import { redisLeases } from '@muster/leases'
import { Redis } from 'ioredis'
import { crowdedRedis, median, record, round } from './figures.js'

const SIZES = [100, 1_000, 10_000]
const MAY_BE = { 100: '≥ 2000 ×', 1000: '≥ 500 ×', 10000: '≥ 50 ×' }

export async function listing() {
  const server = await crowdedRedis(1_000_000)
  const redis = new Redis(server.url)
  const namespace = 'bench'
  const writer = redisLeases({ redis: server.url, namespace, ttl: 600_000 })
  for (const size of SIZES) {
    for (let at = 0; at < size; at += 500) {
      await Promise.all(
        Array.from({ length: 500 }, (_, index) => at + index)
          .filter((id) => id < size)
          .flatMap((id) => [
            writer.put({ service: `s${size}`, id: `i${id}`, incarnation: 'one' }, record(id)),
            redis.set(`plain:s${size}:i${id}`, JSON.stringify(record(id)), 'EX', 600)
          ])
      )
    }
  }

  const rows = []
  for (const size of SIZES) {
    const scan = []
    for (let turn = 0; turn < 3; turn++)
      scan.push(await timed(() => scanAndMget(redis, `plain:s${size}:*`)))
    const cold = []
    const unchanged = []
    for (let turn = 0; turn < 15; turn++) {
      const reader = redisLeases({ redis: server.url, namespace, ttl: 600_000 })
      await reader.services()
      cold.push(await timed(() => reader.entries(`s${size}`)))
      for (let again = 0; again < 20; again++) {
        unchanged.push(await timed(() => reader.entries(`s${size}`)))
      }
      await reader.close()
    }
    rows.push({
      instances: size,
      'SCAN + MGET, ms': round(median(scan)),
      'cold, ms': round(median(cold)),
      'times less': Math.round(median(scan) / median(cold)),
      'must be': MAY_BE[size],
      'unchanged, ms': round(median(unchanged), 3),
      'may be': '≤ 0.3'
    })
  }
  await writer.close()
  redis.disconnect()
  await server.close()
  console.log('Instances of one service beside 1,000,000 other keys')
  console.table(rows)
}

async function scanAndMget(redis, match) {
  const found = []
  let cursor = '0'
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', match, 'COUNT', 100)
    found.push(...keys)
    cursor = next
  } while (cursor !== '0')
  return (await redis.mget(found)).map((text) => JSON.parse(text))
}

async function timed(work) {
  const start = performance.now()
  await work()
  return performance.now() - start
}
