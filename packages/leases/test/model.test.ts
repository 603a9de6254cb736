import { type RedisServer, startRedis } from '@muster/testkit'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { LeaseStore } from '../src/lease-store.ts'
import { MemoryLeases } from '../src/memory-leases.ts'
import { RedisLeases } from '../src/redis-leases.ts'
import { leaseScripts } from '../src/scripts.ts'

const TTL = 1_000

let server: RedisServer
let redis: Redis

beforeAll(async () => {
  server = await startRedis()
  redis = new Redis(server.url)
})
afterAll(async () => {
  redis.disconnect()
  await server.close()
})

const key = fc.record({
  service: fc.constantFrom('billing', 'audit'),
  id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'),
  incarnation: fc.constantFrom('one', 'two')
})
const record = fc.record({ load: fc.nat(2) })
const step = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant('put' as const), key, record, fc.boolean()) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('renew' as const), key) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('remove' as const), key) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('list' as const), key) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('entries' as const), key) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('get' as const), key) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('services' as const)) },
  // Who does nothing meanwhile has crashed. A server's clock may also be set back.
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constant('wait' as const), fc.integer({ min: 1, max: 1_500 }))
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constant('wait' as const), fc.integer({ min: -900, max: 0 }))
  }
)
const graces = fc.constantFrom(undefined, 700)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

async function perform(store: LeaseStore, [what, ...args]: Step): Promise<unknown> {
  const [on, content, claim] = args as [Parameters<LeaseStore['put']>[0], object, boolean]
  if (what === 'put') return store.put(on, { ...content }, { claim })
  if (what === 'renew') return store.renew(on)
  if (what === 'remove') return store.remove(on)
  if (what === 'get') return shown(await store.get(on.service, on.id))
  if (what === 'services') return store.services()
  if (what === 'wait') return undefined
  if (what === 'list')
    return (await store.list(on.service)).map((lease) => String(shown(lease))).sort()
  const entries = await store.entries(on.service)
  return entries.map(({ id, incarnation, suspect }) => [id, incarnation, suspect].join()).sort()
}

function shown(lease: object | undefined): string | undefined {
  if (!lease) return undefined
  const { service, id, incarnation, record: content, suspect, age, expiresIn } = lease as never
  return JSON.stringify([service, id, incarnation, content, suspect, age, expiresIn])
}

it('memory and Redis answer the same to any order of operations, crashes and clock steps', async () => {
  let performed = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 80 }),
      graces,
      async (steps, grace) => {
        let now = 1_000_000
        const namespace = randomUUID()
        const options = { namespace, ttl: TTL, grace, expiryShare: 0.3 }
        const clock = `clock:${namespace}`
        await redis.set(clock, now)
        const onRedis = new RedisLeases(
          { redis: server.url, ...options },
          leaseScripts(`local now = tonumber(redis.call('GET', '${clock}'))`)
        )
        const inMemory = new MemoryLeases(options, () => now)
        try {
          for (const one of steps) {
            if (one[0] === 'wait') {
              now += one[1]
              await redis.set(clock, now)
            }
            expect(await perform(onRedis, one), JSON.stringify(one)).toEqual(
              await perform(inMemory, one)
            )
            performed++
          }
        } finally {
          await onRedis.close()
        }
      }
    ),
    { numRuns: 200 }
  )
  expect(performed).toBeGreaterThan(5_000)
}, 60_000)
