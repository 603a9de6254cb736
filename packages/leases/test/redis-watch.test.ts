import {
  type LeaseEvent,
  type LeaseStore,
  redisLeases,
  type RedisLeaseOptions
} from '@muster/leases'
import { eventually, type RedisServer, startRedis } from '@muster/testkit'
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { replay } from './lease-store-contract.ts'
import { watch } from './watching.ts'

let server: RedisServer
let namespace: string
const open: LeaseStore[] = []
const key = (id: string, incarnation = 'one') => ({ service: 'billing', id, incarnation })

beforeAll(async () => {
  server = await startRedis({ args: '--user reader on >secret ~* &* +@all'.split(' ') })
})
afterAll(() => server.close())
beforeEach(() => {
  namespace = randomUUID()
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()))
})

function store(options: Partial<RedisLeaseOptions> = {}): LeaseStore {
  const created = redisLeases({ redis: server.url, namespace, ttl: 60_000, ...options })
  open.push(created)
  return created
}

/** A store whose connections the test can cut, beside others. */
function reader(options: Partial<RedisLeaseOptions> = {}): LeaseStore {
  return store({ redis: server.url.replace('//', '//reader:secret@'), ...options })
}

/** Each change must fit what is known: a join of what is there, or a leave of what is not, was lost or doubled. */
function expectNothingLostOrDoubled(events: LeaseEvent[]): void {
  const known = new Set<string>()
  const wrong: string[] = []
  for (const event of events.slice(1)) {
    if (event.type === 'snapshot') {
      wrong.push('a second snapshot')
      continue
    }
    const { id } = event.lease
    if (known.has(id) === (event.type === 'join')) wrong.push(`${event.type} ${id}`)
    if (event.type === 'leave' || event.type === 'expire') known.delete(id)
    else known.add(id)
  }
  expect(wrong).toEqual([])
}

async function change(writer: LeaseStore, times: number): Promise<Map<string, number>> {
  const made = new Map<string, number>()
  for (let turn = 0; turn < times; turn++) {
    const some = key(`i${Math.floor(Math.random() * 20)}`, `${Math.floor(Math.random() * 2)}`)
    const result =
      Math.random() < 0.3 ? await writer.remove(some) : await writer.put(some, { turn })
    made.set(result, (made.get(result) ?? 0) + 1)
  }
  return made
}

describe('a watcher on Redis loses and doubles nothing', () => {
  it('while its connections are cut again and again: not one event is missing', async () => {
    const [writer, watching] = [store(), reader()]
    const watched = watch(watching)
    await watched.until((events) => events.length === 1)
    let done = false
    const cutting = (async () => {
      while (!done) {
        await pause(100)
        await server.command('CLIENT KILL USER reader')
      }
    })()
    const made = await change(writer, 3_000)
    done = true
    await cutting
    const last = await writer.put(key('last'), {})
    expect(last).toBe('join')
    await watched.until((events) => replay(events).includes('last#one {}'))
    expectNothingLostOrDoubled(watched.events)
    const seen = (type: string) => watched.events.filter((event) => event.type === type).length
    expect(seen('leave')).toBe(made.get('left'))
    expect(seen('join')).toBe((made.get('join') ?? 0) + 1)
    expect(seen('replace')).toBe(made.get('replace'))
    expect(seen('update')).toBe(made.get('update') ?? 0)
  })

  it('when the stream was trimmed behind it', async () => {
    const [writer, watching] = [store(), reader()]
    await change(writer, 50)
    const watched = watch(watching)
    await watched.until((events) => events.length === 1)
    await server.command('ACL SETUSER reader off')
    await server.command('CLIENT KILL USER reader')
    await change(writer, 300)
    await server.command(`XTRIM muster:{${namespace}}:ev MAXLEN 0`)
    await change(writer, 5)
    await server.command('ACL SETUSER reader on')
    await writer.put(key('last'), {})
    await watched.until((events) => replay(events).includes('last#one {}'))
    const there = (await writer.list('billing')).map(({ id }) => id).sort()
    await eventually(() =>
      expect(replay(watched.events).map((line) => line.split('#')[0])).toEqual(there)
    )
  })

  it('when the stream vanished though nothing else did', async () => {
    const [writer, watching] = [store(), reader({ ttl: 1_000 })]
    await writer.put(key('a'), {})
    const watched = watch(watching)
    await watched.until((events) => events.length === 1)
    await server.command(`DEL muster:{${namespace}}:ev`)
    await writer.put(key('b'), {})
    await writer.put(key('c'), {})
    await watched.until((events) => replay(events).length === 3, 8_000)
    await writer.put(key('d'), {})
    await watched.until((events) => replay(events).length === 4)
    expect(watched.events.filter(({ type }) => type === 'join')).toHaveLength(3)
  }, 15_000)

  it('across a new epoch: what is missing is suspect for one grace, and who comes back is not', async () => {
    const [writer, watching] = [store(), reader({ grace: 1_500, ttl: 1_000 })]
    for (const id of ['back', 'away']) await writer.put(key(id), {})
    const watched = watch(watching)
    await watched.until((events) => events.length === 1)
    await server.command('FLUSHALL')
    await server.command('CLIENT KILL USER reader')
    await watched.until((events) => events.length === 3)
    const started = performance.now()
    expect(watched.events.slice(1)).toMatchObject([
      { type: 'update', lease: { suspect: true } },
      { type: 'update', lease: { suspect: true } }
    ])
    expect(await watching.entries('billing')).toEqual([])
    expect(await writer.renew(key('back'))).toBe('gone')
    await writer.put(key('back'), {})
    await watched.until((events) => events.length === 5, 6_000)
    expect(performance.now() - started).toBeGreaterThan(1_300)
    expect(watched.events.slice(3)).toMatchObject([
      { type: 'update', lease: { id: 'back', suspect: false } },
      { type: 'expire', lease: { id: 'away' } }
    ])
  })

  it('reads all anew when an entry of the stream is of a version to come', async () => {
    const [writer, watching] = [store(), store()]
    await writer.put(key('a'), {})
    const watched = watch(watching)
    await watched.until((events) => events.length === 1)
    await server.command(`HINCRBY muster:{${namespace}}:meta seq 1`)
    await server.command(`XADD muster:{${namespace}}:ev 2-0 op teleport to mars`)
    await writer.put(key('b'), {})
    await watched.until((events) => events.length === 2)
    expect(watched.events[1]).toMatchObject({ type: 'join', lease: { id: 'b' } })
  })
})

describe('what else is found in Redis', () => {
  it('a record that is no lease is passed over, with one log line', async () => {
    const warnings: string[] = []
    const logger = { info() {}, warn: (message: string) => void warnings.push(message) }
    const leases = store({ logger })
    await leases.put(key('good'), {})
    const hash = `muster:{${namespace}}:s:billing`
    for (const [id, value] of [
      ['text', 'nonsense'],
      ['list', '"one 1000 list\\n[1]"'],
      ['broken', '"one 1000 broken\\n{"']
    ]) {
      await server.command(`HSET ${hash} ${id} ${value}`)
    }
    await server.command(`ZADD muster:{${namespace}}:due 1 nonsense`)
    expect(await leases.list('billing')).toMatchObject([{ id: 'good' }])
    expect(await leases.entries('billing')).toMatchObject([{ id: 'good' }])
    expect(await leases.get('billing', 'text')).toBeUndefined()
    const watched = watch(leases)
    await watched.until((events) => events.length === 1)
    expect(replay(watched.events)).toEqual(['good#one {}'])
    expect(warnings).toEqual([expect.stringContaining('Passed over')])
  })

  it('a policy that may evict leases is warned of once', async () => {
    const warnings: string[] = []
    const logger = { info() {}, warn: (message: string) => void warnings.push(message) }
    await server.command('CONFIG SET maxmemory-policy allkeys-lru')
    const leases = reader({ logger })
    await leases.put(key('a'), {})
    await eventually(() => expect(warnings).toHaveLength(1))
    await server.command('CLIENT KILL USER reader')
    await eventually(async () => expect(await leases.renew(key('a'))).toBe('ok'))
    await server.command('CONFIG SET maxmemory-policy noeviction')
    expect(warnings.filter((line) => line.includes('allkeys-lru'))).toHaveLength(1)
  })

  it('a lease of which a key was evicted is to be put again, and is whole then', async () => {
    for (const name of ['due', 'meta', 'svcs', 's:billing']) {
      const leases = store()
      await leases.put(key('a'), { whole: true })
      await server.command(`DEL muster:{${namespace}}:${name}`)
      expect(await leases.renew(key('a'))).toBe('gone')
      await leases.put(key('a'), { whole: true })
      expect(await leases.renew(key('a'))).toBe('ok')
      expect(await store().list('billing')).toMatchObject([{ record: { whole: true } }])
      expect(await leases.services()).toEqual(['billing'])
    }
  })

  it('a namespace that nobody uses goes after a day', async () => {
    const leases = store()
    await leases.put(key('a'), {})
    await leases.renew(key('a'))
    for (const name of ['due', 'meta', 'svcs', 'ev', 's:billing']) {
      const reply = await server.command(`TTL muster:{${namespace}}:${name}`)
      expect(Number(reply.slice(1))).toBeGreaterThan(86_000)
    }
  })
})
