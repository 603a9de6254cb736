// Clocks that are wrong by ten minutes.
import { redisLeases } from '@muster/leases'
import { startRedis } from '@muster/testkit'
import { setTimeout as pause } from 'node:timers/promises'
import { startInstance, timeUntil } from '../instance.js'

const OFFSETS = [-600_000, 600_000]

export async function* run() {
  const redis = await startRedis()
  const store = redisLeases({ redis: redis.url, ttl: 1_500 })
  for (const clock of OFFSETS) {
    const name = `clock${clock}`
    const instance = startInstance({ instance: name, redis: { url: redis.url }, clock })
    await instance.url()
    await timeUntil(() => store.get('faulty', name))
    let seen = 0
    for (let look = 0; look < 30; look++) {
      if ((await store.get('faulty', name))?.suspect === false) seen += 1
      await pause(100)
    }
    await instance.fixture.kill()
    const gone = await timeUntil(async () => !(await store.get('faulty', name)))
    yield {
      fault: `a clock that is off by ${clock / 60_000} min`,
      held: seen === 30 && gone <= 1_800,
      result: `there in ${seen} of 30 looks over two TTLs, gone ${gone} ms after SIGKILL`
    }
  }
  await store.close()
  await redis.close()
}
