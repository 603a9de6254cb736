// How soon a watcher sees a crash in a Redis with many keys that expire some time.
import { redisLeases } from '@muster/leases'
import { Redis } from 'ioredis'
import { setTimeout as pause } from 'node:timers/promises'
import { startRedis } from '@muster/testkit'
import { quantile, record, round } from './figures.js'

const VOLATILE = 100_000
const CRASHES = 50
const TTL = 2_000
const PATIENCE = 30_000

export async function crash() {
  const server = await startRedis({ args: ['--notify-keyspace-events', 'Ex'] })
  const redis = new Redis(server.url)
  for (let at = 0; at < VOLATILE; at += 1_000) {
    const pipeline = redis.pipeline()
    for (let index = 0; index < 1_000; index++)
      pipeline.set(`volatile:${at + index}`, 'x', 'EX', 36_000)
    await pipeline.exec()
  }
  const events = await byKeyspaceEvents(server, redis)
  const ours = await byLeases(server)
  redis.disconnect()
  await server.close()
  console.log(
    `${CRASHES} crashes beside ${VOLATILE} volatile keys: ms from the deadline to the news, within ${PATIENCE / 1_000} s`
  )
  console.table([
    { watcher: 'keyspace events', ...figures(events) },
    { watcher: '@muster/leases watch', ...figures(ours), 'must be': '50 seen, p95 ≤ 300' }
  ])
}

async function byKeyspaceEvents(server, redis) {
  const deadlines = new Map()
  const delays = []
  const subscriber = new Redis(server.url)
  await subscriber.subscribe('__keyevent@0__:expired')
  subscriber.on('message', (_, key) => delays.push(performance.now() - deadlines.get(key)))
  for (let at = 0; at < CRASHES; at++) {
    deadlines.set(`crash:${at}`, performance.now() + TTL)
    await redis.set(`crash:${at}`, 'x', 'PX', TTL)
    await pause(20)
  }
  await pause(PATIENCE)
  subscriber.disconnect()
  return delays
}

async function byLeases(server) {
  const options = { redis: server.url, namespace: 'bench' }
  const [watching, alive, crashing] = [600_000, 600_000, TTL].map((ttl) =>
    redisLeases({ ...options, ttl })
  )
  // Others that live on: so many crashes at once in a small fleet would be taken for an outage.
  for (let at = 0; at < 300; at++) {
    await alive.put({ service: 'billing', id: `alive${at}`, incarnation: 'one' }, record(at))
  }
  const deadlines = new Map()
  const delays = []
  const abort = new AbortController()
  const watched = (async () => {
    for await (const event of watching.watch('billing', { signal: abort.signal })) {
      if (event.type === 'expire') delays.push(performance.now() - deadlines.get(event.lease.id))
    }
  })()
  for (let at = 0; at < CRASHES; at++) {
    deadlines.set(`crash${at}`, performance.now() + TTL)
    await crashing.put({ service: 'billing', id: `crash${at}`, incarnation: 'one' }, record(at))
    await pause(20)
  }
  const end = performance.now() + PATIENCE
  while (delays.length < CRASHES && performance.now() < end) await pause(50)
  abort.abort()
  await watched
  for (const store of [watching, alive, crashing]) await store.close()
  return delays
}

function figures(delays) {
  const of = (share) => (delays.length > 0 ? round(quantile(delays, share), 0) : '-')
  return { seen: `${delays.length} of ${CRASHES}`, p50: of(0.5), p95: of(0.95) }
}
