// A heartbeat and a goodbye at the same time; an event loop that is blocked for longer than the TTL.
import { redisLeases } from '@muster/leases'
import { startRedis } from '@muster/testkit'
import { Redis } from 'ioredis'
import { startInstance, timeUntil } from '../instance.js'

export async function* run({ random }) {
  const redis = await startRedis()
  yield await race(redis, random)
  yield await naiveRace(redis)
  yield await blocked(redis)
  await redis.close()
}

async function race(redis, random) {
  const stores = [0, 1].map(() => redisLeases({ redis: redis.url, namespace: 'race', ttl: 60_000 }))
  const [beating, leaving] = stores
  let alive = 0
  for (let round = 0; round < 1_000; round++) {
    const key = { service: 'racer', id: `r-${round}`, incarnation: 'a' }
    await beating.put(key, {})
    const beat = () => beating.renew(key)
    const leave = () => leaving.remove(key)
    await Promise.all(random() < 0.5 ? [beat(), leave()] : [leave(), beat()])
    if (await beating.get('racer', key.id)) alive += 1
  }
  await Promise.all(stores.map((store) => store.close()))
  return {
    fault: 'a beat and a leave at the same time, 1,000 times',
    held: alive === 0,
    result: `${alive} came back from the dead`
  }
}

/** A heartbeat that writes the record, and a DEL: shown for comparison. */
async function naiveRace(redis) {
  const [beating, leaving] = [new Redis(redis.url), new Redis(redis.url)]
  let alive = 0
  for (let round = 0; round < 1_000; round++) {
    await beating.set(`naive:${round}`, '{}', 'EX', 60)
    await Promise.all([
      leaving.del(`naive:${round}`),
      beating.set(`naive:${round}`, '{}', 'EX', 60)
    ])
    alive += await beating.exists(`naive:${round}`)
  }
  beating.disconnect()
  leaving.disconnect()
  return {
    fault: 'the same by SET … EX and DEL (contrast)',
    held: alive > 0,
    result: `${alive} came back from the dead`
  }
}

async function blocked(redis) {
  const store = redisLeases({ redis: redis.url, ttl: 1_500 })
  const instance = startInstance({ instance: 'blocked', redis: { url: redis.url } })
  const url = await instance.url()
  await timeUntil(() => store.get('faulty', 'blocked'))
  const before = await store.get('faulty', 'blocked')
  const response = fetch(`${url}/block/3000`)
  const lapsed = await timeUntil(async () => !(await store.get('faulty', 'blocked')))
  await response
  const back = await timeUntil(() => store.get('faulty', 'blocked'))
  const after = await store.get('faulty', 'blocked')
  await instance.end()
  await store.close()
  const same = Object.keys(before.record).every((field) => field in after.record)
  return {
    fault: 'an event loop blocked for 3,000 ms, with a TTL of 1,500 ms',
    held: back <= 1_000 && same && after.incarnation === before.incarnation,
    result: `lapsed after ${lapsed} ms, back ${back} ms after it, ${same ? 'with the full record' : 'incomplete'}`
  }
}
