import { redisLeases } from '@muster/leases'
import { orchestrator } from '@muster/orchestrator'
import { seededRandom, startFixture, startRedis } from '@muster/testkit'
import Fastify from 'fastify'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'

const ROUNDS = 50
const AT_ONCE = 5
/** ms from the spawn within which the signal comes; by then each has long been registered. */
const WINDOW = 2_000

it(`leaves no registration and no presence after SIGTERM at ${ROUNDS} random instants from the spawn on`, async () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
  const random = seededRandom(seed)
  const redis = await startRedis()
  const registry = Fastify()
  await registry.register(orchestrator)
  const origin = await registry.listen({ port: 0, host: '127.0.0.1' })
  const present = redisLeases({ redis: redis.url, namespace: 'default', ttl: 15_000 })
  onTestFinished(async () => {
    await present.close()
    await registry.close()
    await redis.close()
  })
  const reached = { nothing: 0, registered: 0 }

  for (let round = 0; round < ROUNDS; round += AT_ONCE) {
    await Promise.all(
      Array.from({ length: AT_ONCE }, (_, i) => live(`i-${round + i}`, random() * WINDOW))
    )
    const response = await fetch(`${origin}/services`)
    expect(await response.json(), `seed ${seed}`).toMatchObject({ count: 0 })
    expect(await present.list('fleeting'), `seed ${seed}`).toEqual([])
  }
  // Otherwise the window would have missed what it is about.
  expect(reached.registered).toBeGreaterThan(0)
  expect(reached.nothing).toBeGreaterThan(0)

  async function live(instance: string, ms: number): Promise<void> {
    const fixture = startFixture(new URL('fixtures/service.js', import.meta.url), {
      env: {
        ORCHESTRATOR: `${origin}/services/$register`,
        REDIS_URL: redis.url,
        INSTANCE: instance
      }
    })
    onTestFinished(() => fixture.kill())
    await pause(ms)
    fixture.signal('SIGTERM')
    const { code, signal } = await fixture.exited
    reached[/^registered/m.test(fixture.output) ? 'registered' : 'nothing'] += 1
    // Before its handlers are installed the signal ends it, and it has told nobody anything.
    const clean = code === 0 || (signal === 'SIGTERM' && fixture.output === '')
    expect(clean, `seed ${seed}, ${ms} ms: code ${code}, ${signal}\n${fixture.output}`).toBe(true)
  }
}, 180_000)
