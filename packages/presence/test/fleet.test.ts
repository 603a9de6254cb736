import { type LeaseStore, redisLeases, type RedisLeaseOptions } from '@muster/leases'
import { eventually, type RedisServer, startRedis } from '@muster/testkit'
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Announcer, type PresenceState } from '../src/announcer.ts'

let server: RedisServer
let namespace: string
const stores: LeaseStore[] = []
const announcers: Announcer[] = []

beforeAll(async () => {
  server = await startRedis({ args: '--user fleet on >secret ~* &* +@all'.split(' ') })
})
afterAll(() => server.close())
beforeEach(() => {
  namespace = randomUUID()
})
afterEach(async () => {
  await Promise.all(announcers.splice(0).map((announcer) => announcer.leave(1_000)))
  await Promise.all(stores.splice(0).map((store) => store.close()))
})

function store(options: Partial<RedisLeaseOptions> = {}): LeaseStore {
  const created = redisLeases({ redis: server.url, namespace, ttl: 60_000, ...options })
  stores.push(created)
  return created
}

function announcer(of: LeaseStore, id: string, incarnation: string, heartbeat = 20_000): Announcer {
  const created = new Announcer({
    store: of,
    key: { service: 'billing', id, incarnation },
    heartbeat,
    record: () => ({ status: 'ready' }),
    onError: () => {}
  })
  announcers.push(created)
  return created
}

function become(one: Announcer, state: PresenceState): Promise<void> {
  if (one.state === state) return Promise.resolve()
  return new Promise((resolve) => one.once(state, resolve))
}

describe('races, 1,000 times each', () => {
  it('beats against a leave: nobody comes back from the dead', async () => {
    const [mine, other] = [store(), store()]
    for (let round = 0; round < 1_000; round++) {
      const one = announcer(mine, `i${round}`, 'one')
      one.start()
      if (round % 4 > 0) await become(one, 'present')
      const beating = [one.announce(), one.announce()]
      for (let turn = 0; turn < round % 7; turn++) await Promise.resolve()
      await Promise.all([one.leave(2_000), ...beating, one.announce()])
      if (await other.get('billing', `i${round}`)) throw new Error(`round ${round} is back`)
    }
    expect(await other.services()).toEqual([])
  })

  it('two starts with one id: the older is fenced, the newer survives its leave', async () => {
    const [older, newer, reader] = [store(), store(), store()]
    for (let round = 0; round < 1_000; round++) {
      const id = `i${round}`
      const [first, second] = [announcer(older, id, 'one'), announcer(newer, id, 'two')]
      first.start()
      await become(first, 'present')
      second.start()
      const beating = first.announce()
      if (round % 2 === 0) await Promise.all([become(second, 'present'), beating])
      await Promise.all([first.announce(), first.leave(2_000), become(second, 'present')])
      const lease = await reader.get('billing', id)
      if (lease?.incarnation !== 'two') throw new Error(`round ${round}: ${lease?.incarnation}`)
      if (second.state !== 'present') throw new Error(`round ${round}: ${second.state}`)
      await second.leave(2_000)
    }
    expect(await reader.services()).toEqual([])
  })
})

describe('a fleet', () => {
  it('of 1,000 that lost its registry comes back within a second, spread out', async () => {
    const fleet = Array.from({ length: 40 }, () => store({ timeout: 5_000 })).flatMap(
      (shared, at) =>
        Array.from({ length: 25 }, (_, index) => announcer(shared, `i${at}-${index}`, 'one'))
    )
    for (const one of fleet) one.start()
    await Promise.all(fleet.map((one) => become(one, 'present')))
    // From the first moment on, in which each of them was back: who notices only at its next beat would take 20 s.
    const back = new Map<string, number>()
    await server.restart({ empty: true })
    const reader = store()
    await eventually(
      async () => {
        for (const { id } of await reader.entries('billing')) {
          if (!back.has(id)) back.set(id, performance.now())
        }
        expect(back.size).toBe(1_000)
      },
      { deadline: 8_000, every: 5 }
    )
    const times = [...back.values()].sort((one, other) => one - other)
    const [first, last] = [times[0] as number, times.at(-1) as number]
    expect(last - first).toBeLessThan(3_000)
    const inTheFirstTenth = times.filter((time) => time - first < (last - first) / 10).length
    expect(inTheFirstTenth).toBeLessThan(400)
  }, 30_000)

  it('of 50 that is cut off for two TTLs is kept as suspect but for a fifth, and is whole again', async () => {
    const ttl = 1_500
    const grace = 2 * ttl
    const redis = server.url.replace('//', '//fleet:secret@')
    const cutOff = store({ redis, ttl, timeout: 300 })
    const fleet = Array.from({ length: 50 }, (_, at) => announcer(cutOff, `i${at}`, 'one', 400))
    for (const one of fleet) one.start()
    await Promise.all(fleet.map((one) => become(one, 'present')))
    const reader = store({ ttl, grace })
    const expired: number[] = []
    const abort = new AbortController()
    const watching = (async () => {
      for await (const event of reader.watch('billing', { signal: abort.signal })) {
        if (event.type === 'expire') expired.push(performance.now())
      }
    })()
    expect(await reader.entries('billing')).toHaveLength(50)

    await server.command('ACL SETUSER fleet off')
    await server.command('CLIENT KILL USER fleet')
    await eventually(() => expect(expired.length).toBeGreaterThan(0), { deadline: 3 * ttl })
    await pause(ttl / 2)
    expect(expired.length).toBeLessThanOrEqual(10)
    const kept = await reader.entries('billing')
    expect(kept.length).toBeGreaterThanOrEqual(40)
    expect(kept.every(({ suspect }) => suspect)).toBe(true)
    await pause(ttl / 2)
    await server.command('ACL SETUSER fleet on')
    await eventually(
      async () => {
        const all = await reader.entries('billing')
        expect(all.filter(({ suspect }) => !suspect)).toHaveLength(50)
      },
      { deadline: 3_000 }
    )

    // The window of the outage is over: a single crash is removed at its deadline again.
    await pause(ttl)
    const already = expired.length
    const crashing = store({ ttl })
    await crashing.put({ service: 'billing', id: 'crash', incarnation: 'one' }, { status: 'ready' })
    const started = performance.now()
    await eventually(() => expect(expired).toHaveLength(already + 1), { deadline: ttl + 1_000 })
    expect(performance.now() - started).toBeLessThan(ttl + 400)
    abort.abort()
    await watching
  }, 30_000)
})
