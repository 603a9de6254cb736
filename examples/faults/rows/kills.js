// SIGKILL, and a successor with the same id that comes before the dead one has expired.
import { redisLeases } from '@muster/leases'
import { startRedis } from '@muster/testkit'
import { setTimeout as pause } from 'node:timers/promises'
import { startInstance, timeUntil } from '../instance.js'

const TTL = 1_500

export async function* run({ long, random }) {
  const rounds = long ? 50 : 6
  const redis = await startRedis()
  const present = redisLeases({ redis: redis.url, ttl: TTL })
  let slowest = 0
  for (let round = 0; round < rounds; round++) {
    const instance = `k-${round}`
    const victim = startInstance({ instance, redis: { url: redis.url } })
    await victim.url()
    await timeUntil(() => present.get('faulty', instance))
    await pause(random() * 500)
    await victim.fixture.kill()
    slowest = Math.max(
      slowest,
      await timeUntil(async () => !(await present.get('faulty', instance)))
    )
  }
  yield {
    fault: `SIGKILL, ${rounds} times`,
    held: slowest <= TTL + 300,
    result: `gone after at most ${slowest} ms, with a TTL of ${TTL} ms`
  }

  let touched = 0
  for (let round = 0; round < rounds / 2; round++) {
    const instance = `s-${round}`
    const first = startInstance({ instance, redis: { url: redis.url } })
    await first.url()
    await timeUntil(() => present.get('faulty', instance))
    await first.fixture.kill()
    const second = startInstance({ instance, redis: { url: redis.url } })
    await second.url()
    const { incarnation } = await waitForOther(present, instance)
    // Past the deadline of the dead one.
    await pause(TTL + 300)
    const now = await present.get('faulty', instance)
    if (now?.incarnation !== incarnation) touched += 1
    await second.end()
  }
  await present.close()
  await redis.close()
  yield {
    fault: 'a successor with the id of one that was killed',
    held: touched === 0,
    result: `${touched} of ${Math.ceil(rounds / 2)} were touched by the expiry of the dead one`
  }
}

async function waitForOther(present, instance) {
  let lease
  await timeUntil(async () => {
    lease = await present.get('faulty', instance)
    return lease?.record.status === 'ready'
  })
  return lease
}
