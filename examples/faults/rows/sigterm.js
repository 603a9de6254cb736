// SIGTERM at random instants of the start.
import { redisLeases } from '@muster/leases'
import { orchestrator } from '@muster/orchestrator'
import { startRedis } from '@muster/testkit'
import Fastify from 'fastify'
import { setTimeout as pause } from 'node:timers/promises'
import { startInstance } from '../instance.js'

const WINDOW = 2_000
const AT_ONCE = 5

export async function* run({ long, random }) {
  const rounds = long ? 200 : 40
  const redis = await startRedis()
  const registry = Fastify()
  await registry.register(orchestrator)
  const origin = await registry.listen({ port: 0, host: '127.0.0.1' })
  const present = redisLeases({ redis: redis.url, ttl: 15_000 })
  let left = 0
  let slowest = 0

  for (let round = 0; round < rounds; round += AT_ONCE) {
    await Promise.all(
      Array.from({ length: AT_ONCE }, (_, i) => live(`i-${round + i}`, random() * WINDOW))
    )
    const { count } = await (await fetch(`${origin}/services`)).json()
    left += count + (await present.list('faulty')).length
  }
  await present.close()
  await registry.close()
  await redis.close()
  yield {
    fault: `SIGTERM at ${rounds} random instants from the spawn to ${WINDOW} ms`,
    held: left === 0 && slowest < 5_000,
    result: `${left} registrations and presence records left behind, slowest exit ${slowest} ms`
  }

  async function live(instance, ms) {
    const { fixture } = startInstance({
      instance,
      orchestrator: `${origin}/services/$register`,
      redis: { url: redis.url }
    })
    await pause(ms)
    const start = performance.now()
    fixture.signal('SIGTERM')
    await fixture.exited
    slowest = Math.max(slowest, Math.round(performance.now() - start))
  }
}
