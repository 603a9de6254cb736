import { randomUUID } from 'node:crypto'
import { eventually } from '@muster/testkit'
import { afterAll, describe, expect, it } from 'vitest'
import { watch, type Watched } from './watching.ts'
import type { LeaseEntry, LeaseEvent, LeaseKey, LeaseOptions, LeaseStore } from '@muster/leases'

export type CreateStore = (options: LeaseOptions & { namespace: string }) => LeaseStore

/** What every store promises, whatever it keeps its leases in. */
export function leaseStoreContract(name: string, create: CreateStore): void {
  describe.concurrent(`${name}: contract of a lease store`, () => {
    // Tests run side by side: none may close another's store.
    const open: LeaseStore[] = []
    afterAll(async () => {
      await Promise.all(open.map((store) => store.close()))
    })

    function store({ namespace, ...options }: Partial<LeaseOptions> = {}): LeaseStore {
      const created = create({ ttl: 30_000, ...options, namespace: namespace ?? randomUUID() })
      open.push(created)
      return created
    }
    function key(id: string, incarnation = 'one'): LeaseKey {
      return { service: 'billing', id, incarnation }
    }
    async function ids(of: LeaseStore, service = 'billing'): Promise<string[]> {
      return (await of.list(service)).map(({ id }) => id).sort()
    }

    describe('put', () => {
      it('joins, changes nothing the second time, and updates a record', async () => {
        const leases = store()
        expect(await leases.put(key('a'), { load: 1 })).toBe('join')
        expect(await leases.put(key('a'), { load: 1 })).toBe('same')
        expect(await leases.put(key('a'), { load: 2 })).toBe('update')
        expect(await leases.get('billing', 'a')).toMatchObject({
          service: 'billing',
          id: 'a',
          incarnation: 'one',
          record: { load: 2 },
          suspect: false
        })
      })

      it('takes the id from another incarnation', async () => {
        const leases = store()
        await leases.put(key('a', 'one'), { from: 'one' })
        expect(await leases.put(key('a', 'two'), { from: 'two' })).toBe('replace')
        const [only, ...others] = await leases.list('billing')
        expect(only).toMatchObject({ incarnation: 'two', record: { from: 'two' } })
        expect(others).toEqual([])
      })

      it('without a claim leaves the lease of another incarnation alone', async () => {
        const leases = store()
        const claim = false
        expect(await leases.put(key('a', 'two'), {}, { claim })).toBe('join')
        expect(await leases.put(key('a', 'two'), { load: 1 }, { claim })).toBe('update')
        expect(await leases.put(key('a', 'one'), {}, { claim })).toBe('fenced')
        expect(await leases.get('billing', 'a')).toMatchObject({ incarnation: 'two' })
      })

      it('keeps a copy, which later changes of the object do not reach', async () => {
        const leases = store()
        const record = { tags: ['a'] }
        await leases.put(key('a'), record)
        record.tags.push('b')
        expect((await leases.get('billing', 'a'))?.record).toEqual({ tags: ['a'] })
      })
    })

    describe('renew', () => {
      it('starts the TTL anew', async () => {
        const leases = store({ ttl: 5_000 })
        await leases.put(key('a'), {})
        await eventually(async () => {
          expect((await leases.get('billing', 'a'))?.age).toBeGreaterThanOrEqual(60)
        })
        expect(await leases.renew(key('a'))).toBe('ok')
        const lease = await leases.get('billing', 'a')
        expect(lease?.age).toBeLessThan(60)
        expect(lease?.expiresIn).toBeGreaterThan(4_900)
      })

      it('never creates a lease', async () => {
        const leases = store()
        expect(await leases.renew(key('a'))).toBe('gone')
        expect(await leases.list('billing')).toEqual([])
      })

      it('tells the older of two incarnations to stop', async () => {
        const leases = store()
        await leases.put(key('a', 'one'), {})
        await leases.put(key('a', 'two'), {})
        expect(await leases.renew(key('a', 'one'))).toBe('fenced')
        expect(await leases.renew(key('a', 'two'))).toBe('ok')
      })
    })

    describe('remove', () => {
      it('removes the lease once', async () => {
        const leases = store()
        await leases.put(key('a'), {})
        expect(await leases.remove(key('a'))).toBe('left')
        expect(await leases.remove(key('a'))).toBe('gone')
        expect(await leases.get('billing', 'a')).toBeUndefined()
        expect(await leases.services()).toEqual([])
      })

      it('leaves the lease of a successor alone', async () => {
        const leases = store()
        await leases.put(key('a', 'one'), {})
        await leases.put(key('a', 'two'), {})
        expect(await leases.remove(key('a', 'one'))).toBe('fenced')
        expect(await ids(leases)).toEqual(['a'])
      })

      it.sequential('racing with a renewal 1,000 times leaves nothing behind', async () => {
        const leases = store()
        for (let round = 0; round < 1_000; round++) {
          const racer = key(`racer-${round}`)
          await leases.put(racer, {})
          const [, removed] = await Promise.all([leases.renew(racer), leases.remove(racer)])
          if (removed !== 'left') throw new Error(`round ${round}: ${removed}`)
          if ((await leases.renew(racer)) !== 'gone') throw new Error(`round ${round}: is back`)
        }
        expect(await leases.list('billing')).toEqual([])
      })
    })

    describe('reading', () => {
      it('lists by service, and names the services that have an instance', async () => {
        const leases = store()
        await leases.put(key('a'), {})
        await leases.put(key('b'), {})
        await leases.put({ service: 'audit', id: 'a', incarnation: 'x' }, {})
        expect(await ids(leases)).toEqual(['a', 'b'])
        expect(await ids(leases, 'audit')).toEqual(['a'])
        expect(await ids(leases, 'nobody')).toEqual([])
        expect(await leases.services()).toEqual(['audit', 'billing'])
      })

      it('shows in `entries` what `list` shows, without ages, and each change', async () => {
        const leases = store()
        await leases.put(key('a'), { load: 1 })
        const expected = { ...key('a'), record: { load: 1 }, suspect: false }
        expect(await leases.entries('billing')).toMatchObject([expected])
        expect(await leases.entries('billing')).toMatchObject([expected])
        await leases.put(key('a'), { load: 2 })
        expect(await leases.entries('billing')).toMatchObject([{ record: { load: 2 } }])
        await leases.remove(key('a'))
        expect(await leases.entries('billing')).toEqual([])
      })

      it('sees what another store of the same namespace wrote, and nothing of other namespaces', async () => {
        const namespace = randomUUID()
        const [one, two, other] = [store({ namespace }), store({ namespace }), store()]
        await one.put(key('a'), {})
        expect(await ids(two)).toEqual(['a'])
        expect(await ids(other)).toEqual([])
        expect(await other.renew(key('a'))).toBe('gone')
      })
    })

    describe('expiry', () => {
      it('removes a single lease that is not renewed at its deadline, the others stay', async () => {
        const namespace = randomUUID()
        const [short, long] = [store({ namespace, ttl: 300 }), store({ namespace })]
        await short.put(key('short'), {})
        await long.put(key('long'), {})
        expect(await ids(long)).toEqual(['long', 'short'])
        await eventually(async () => expect(await ids(long)).toEqual(['long']))
        expect(await short.renew(key('short'))).toBe('gone')
        expect(await short.put(key('short'), {})).toBe('join')
      })

      it('keeps a lease alive as long as it is renewed', async () => {
        const leases = store({ ttl: 600 })
        await leases.put(key('a'), {})
        const end = performance.now() + 1_500
        while (performance.now() < end) {
          expect(await leases.renew(key('a'))).toBe('ok')
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
        expect(await ids(leases)).toEqual(['a'])
      })

      it.sequential('counts by the clock of the store: a wrong clock of this process makes no difference', async () => {
        const leases = store({ ttl: 5_000 })
        const now = Date.now
        try {
          for (const minutes of [-10, 10]) {
            Date.now = () => now() + minutes * 60_000
            await leases.put(key(`at${minutes}`), {})
          }
          expect(await ids(leases)).toEqual(['at-10', 'at10'])
          for (const { expiresIn } of await leases.list('billing')) {
            expect(expiresIn).toBeGreaterThan(4_000)
            expect(expiresIn).toBeLessThanOrEqual(5_000)
          }
        } finally {
          Date.now = now
        }
      })
    })

    describe('self-preservation', () => {
      const many = Array.from({ length: 20 }, (_, at) => key(`i${at}`))

      it('removes at most the share within one TTL, and keeps the rest as suspect', async () => {
        const leases = store({ ttl: 1_000, grace: 60_000, expiryShare: 0.2 })
        await Promise.all(many.map((one) => leases.put(one, {})))
        await eventually(async () => {
          const left = await leases.list('billing')
          expect(left.filter(({ suspect }) => suspect)).toHaveLength(16)
        })
        expect(await leases.entries('billing')).toHaveLength(16)
        expect((await leases.entries('billing')).every(({ suspect }) => suspect)).toBe(true)
      })

      it('a suspect that is renewed is as good as before', async () => {
        const leases = store({ ttl: 1_000, grace: 60_000, expiryShare: 0.2 })
        await Promise.all(many.map((one) => leases.put(one, {})))
        await eventually(async () => expect(await leases.list('billing')).toHaveLength(16))
        const results = await Promise.all(many.map((one) => leases.renew(one)))
        expect(results.filter((result) => result === 'ok')).toHaveLength(16)
        expect((await leases.entries('billing')).some(({ suspect }) => suspect)).toBe(false)
        await Promise.all(many.map((one) => leases.put(one, {})))
        expect(await leases.list('billing')).toHaveLength(20)
      })

      it('removes whoever stays away until the grace is over as well', async () => {
        const leases = store({ ttl: 300, grace: 300, expiryShare: 0 })
        await Promise.all(many.map((one) => leases.put(one, {})))
        await eventually(async () => expect(await leases.list('billing')).toEqual([]))
      })
    })

    describe('watch', () => {
      it('tells what is there, then each change as it comes', async () => {
        const namespace = randomUUID()
        const [leases, writer] = [store({ namespace }), store({ namespace })]
        await writer.put(key('a'), { load: 1 })
        const watched = watch(leases, 'billing')
        await watched.until((events) => events.length === 1)
        await writer.put(key('b'), {})
        await writer.put({ service: 'audit', id: 'z', incarnation: 'one' }, {})
        await writer.put(key('b'), { load: 2 })
        await writer.put(key('b'), { load: 2 })
        await writer.put(key('b', 'two'), {})
        await writer.renew(key('a'))
        await writer.remove(key('a'))
        await watched.until((events) => events.length === 5)
        expect(watched.events).toMatchObject([
          { type: 'snapshot', leases: [{ id: 'a', record: { load: 1 } }] },
          { type: 'join', lease: { id: 'b', record: {} } },
          { type: 'update', lease: { id: 'b', record: { load: 2 } } },
          { type: 'replace', lease: { id: 'b', incarnation: 'two' } },
          { type: 'leave', lease: { id: 'a', incarnation: 'one' } }
        ])
      })

      it('watches all services when none is named', async () => {
        const leases = store()
        const watched = watch(leases)
        await watched.until((events) => events.length === 1)
        await leases.put(key('a'), {})
        await leases.put({ service: 'audit', id: 'z', incarnation: 'one' }, {})
        await watched.until((events) => events.length === 3)
        expect(watched.events).toMatchObject([
          { type: 'snapshot', leases: [] },
          { type: 'join', lease: { service: 'billing' } },
          { type: 'join', lease: { service: 'audit' } }
        ])
      })

      it('sees a crash soon after the deadline, though nobody else looks', async () => {
        const namespace = randomUUID()
        const [leases, crashing] = [store({ namespace }), store({ namespace, ttl: 500 })]
        const watched = watch(leases, 'billing')
        await watched.until((events) => events.length === 1)
        const started = performance.now()
        await crashing.put(key('a'), {})
        await watched.until((events) => events.some(({ type }) => type === 'expire'), 2_000)
        expect(performance.now() - started).toBeGreaterThanOrEqual(490)
        expect(performance.now() - started).toBeLessThan(1_000)
      })

      it('tells when a lease becomes suspect, and when it is not any more', async () => {
        const leases = store({ ttl: 2_000, grace: 60_000, expiryShare: 0 })
        await leases.put(key('a'), {})
        await leases.put(key('b'), {})
        const watched = watch(leases, 'billing')
        // One may go at once, however small the share.
        await watched.until((events) => events.length === 3, 3_000)
        expect(watched.events.slice(1)).toMatchObject([{ type: 'expire' }, { type: 'update' }])
        const [, , last] = watched.events
        expect(last).toMatchObject({ lease: { suspect: true } })
        const left = (await leases.list('billing'))[0] as LeaseKey
        await leases.renew(left)
        await watched.until((events) => events.length === 4, 3_000)
        expect(watched.events[3]).toMatchObject({ type: 'update', lease: { suspect: false } })
      })

      it('ends with its signal, and with the store', async () => {
        const leases = store()
        const abort = new AbortController()
        const [one, two] = [watch(leases, 'billing', abort.signal), watch(leases, 'billing')]
        await Promise.all([one, two].map((some) => some.until((events) => events.length === 1)))
        abort.abort()
        await one.ended
        await leases.put(key('a'), {})
        await two.until((events) => events.length === 2)
        expect(one.events).toHaveLength(1)
        await leases.close()
        await two.ended
      })

      it.sequential('500 watchers, coming at any time, end up with what is there', async () => {
        const namespace = randomUUID()
        const [leases, writer] = [store({ namespace }), store({ namespace })]
        const watchers: Watched[] = []
        for (let at = 0; at < 500; at++) {
          watchers.push(watch(leases, 'billing'))
          const some = key(`i${at % 20}`, `${at % 3}`)
          if (at % 7 === 0) await writer.remove(some)
          else await writer.put(some, { at })
        }
        const expected = (await leases.list('billing')).map(shown).sort()
        for (const watched of watchers) {
          await watched.until((events) => replay(events).join() === expected.join())
        }
        expect(expected.length).toBeGreaterThan(10)
      })
    })

    describe('hostile content', () => {
      const hostile = ['a/b', 'a#b', 'a{b', 'a}b', 'a\nb', 'a\0b', '', 'ü'.repeat(65)]

      it.each(hostile)('refuses the name %j', async (name) => {
        const leases = store()
        const bad = { code: 'MUSTER_ERR_LEASE_KEY' }
        await expect(leases.put(key(name), {})).rejects.toMatchObject(bad)
        await expect(leases.put({ ...key('a'), service: name }, {})).rejects.toMatchObject(bad)
        await expect(leases.put(key('a', name), {})).rejects.toMatchObject(bad)
        await expect(leases.list(name)).rejects.toMatchObject(bad)
        await expect(leases.get('billing', name)).rejects.toMatchObject(bad)
      })

      it.each(['*', '?[a]', '__proto__', '7', 'a b', 'ü'.repeat(64), `"'\\`])(
        'takes the name %j as it is',
        async (name) => {
          const leases = store()
          const odd = { service: name, id: name, incarnation: 'one' }
          await leases.put(odd, { ok: true })
          expect(await leases.renew(odd)).toBe('ok')
          expect(await leases.list(name)).toMatchObject([{ ...odd, record: { ok: true } }])
          expect(await leases.services()).toEqual([name])
          expect(await leases.remove(odd)).toBe('left')
        }
      )

      it('refuses a record that is no JSON object or too large', async () => {
        const leases = store()
        const cyclic: Record<string, unknown> = {}
        cyclic['self'] = cyclic
        const records = [cyclic, [], null, 'text', { big: 'x'.repeat(1_000_000) }, { n: 1n }]
        for (const record of records) {
          await expect(leases.put(key('a'), record as never)).rejects.toMatchObject({
            code: 'MUSTER_ERR_LEASE_RECORD'
          })
        }
        expect(await leases.list('billing')).toEqual([])
      })

      it('drops a __proto__ of a record', async () => {
        const leases = store()
        await leases.put(key('a'), JSON.parse('{"__proto__":{"admin":true},"ok":1}'))
        const record = (await leases.get('billing', 'a'))?.record ?? {}
        expect(Object.keys(record)).toEqual(['ok'])
        expect(Object.assign({}, record)).not.toHaveProperty('admin')
      })
    })

    it('after close every operation rejects or works, and none hangs', async () => {
      const leases = store()
      await leases.put(key('a'), {})
      await leases.close()
      await leases.close()
      const outcomes = await Promise.allSettled([leases.renew(key('a')), leases.list('billing')])
      expect(outcomes).toHaveLength(2)
    })
  })
}

function shown({ id, incarnation, record }: LeaseEntry): string {
  return `${id}#${incarnation} ${JSON.stringify(record)}`
}

/** What somebody knows who has seen these events. */
export function replay(events: LeaseEvent[]): string[] {
  const known = new Map<string, LeaseEntry>()
  for (const event of events) {
    if (event.type === 'snapshot') {
      known.clear()
      for (const lease of event.leases) known.set(lease.id, lease)
    } else if (event.type === 'leave' || event.type === 'expire') {
      known.delete(event.lease.id)
    } else {
      known.set(event.lease.id, event.lease)
    }
  }
  return [...known.values()].map(shown).sort()
}
