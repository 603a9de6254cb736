import { AsyncLocalStorage } from 'node:async_hooks'
import { getEventListeners } from 'node:events'
import { eventually, startFixture } from '@muster/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { type Eager, eager } from '../src/index.ts'

/** A run under the test's control: each call is a flight that lands, or crashes, when told to. */
function controlled<T = number>() {
  const flights: { land(value: T): void; crash(error: unknown): void; signal: AbortSignal }[] = []
  const run = ({ signal }: { signal: AbortSignal }): Promise<T> =>
    new Promise((land, crash) => flights.push({ land, crash, signal }))
  const flight = (index: number) => flights[index] as (typeof flights)[number]
  return { run, flights, flight }
}

describe('eager', () => {
  it('makes one run of 100 concurrent get() and success is final', async () => {
    const { run, flights, flight } = controlled<object>()
    const value = eager(run)
    const all = Array.from({ length: 100 }, () => value.get())
    const made = {}
    flight(0).land(made)
    expect(new Set(await Promise.all(all))).toEqual(new Set([made]))
    expect(await value.get()).toBe(made)
    expect(value.value).toBe(made)
    expect(flights).toHaveLength(1)
  })

  it('does not run before it is asked', async () => {
    const { run, flights } = controlled()
    const value = eager(run)
    await new Promise(setImmediate)
    expect(flights).toHaveLength(0)
    void value.get()
    expect(flights).toHaveLength(1)
  })

  it('keeps undefined and other falsy values', async () => {
    let runs = 0
    const value = eager(() => void runs++)
    expect([await value.get(), await value.get(), runs]).toEqual([undefined, undefined, 1])
  })

  it('rejects all who wait with that failure and starts afresh with the next get()', async () => {
    const { run, flights, flight } = controlled()
    const value = eager(run)
    const waiting = [value.get(), value.get(), value.get()]
    const failure = new Error('first')
    flight(0).crash(failure)
    for (const outcome of await Promise.allSettled(waiting)) {
      expect(outcome).toEqual({ status: 'rejected', reason: failure })
    }
    const next = value.get()
    expect(flights).toHaveLength(2)
    flight(1).land(2)
    expect(await next).toBe(2)
  })

  it('is clear as soon as the first of those who waited hears of the failure', async () => {
    const { run, flights, flight } = controlled()
    const value = eager(run)
    const again = value.get().catch(() => value.get())
    flight(0).crash(new Error('first'))
    await eventually(() => expect(flights).toHaveLength(2))
    flight(1).land(2)
    expect(await again).toBe(2)
  })

  it('takes a throw of run for a rejection', async () => {
    const value = eager((): number => {
      throw new Error('thrown')
    })
    await expect(value.get()).rejects.toThrow('thrown')
  })

  it('lets a waiter leave by signal or timeout, without ending it for the others', async () => {
    const { run, flight } = controlled()
    const value = eager(run)
    const stays = value.get()
    const leaver = new AbortController()
    const left = value.get({ signal: leaver.signal })
    const late = value.get({ timeout: 50 })
    leaver.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    await expect(late).rejects.toMatchObject({ code: 'MUSTER_ERR_WARMING_UP', statusCode: 503 })
    expect(flight(0).signal.aborted).toBe(false)
    flight(0).land(1)
    expect(await stays).toBe(1)
  })

  it('leaves no listener behind on the signal of a waiter', async () => {
    const { run, flight } = controlled()
    const value = eager(run)
    const { signal } = new AbortController()
    const joined = value.get({ signal })
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    flight(0).land(1)
    await joined
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  it('lets nobody join a cancelled flight, and that flight neither lands nor clears the next', async () => {
    const { run, flights, flight } = controlled()
    const value = eager(run)
    const first = value.get()
    value.cancel(new Error('cancelled'))
    const second = value.get()
    await expect(first).rejects.toThrow('cancelled')
    expect(flight(0).signal.aborted).toBe(true)
    flight(0).land(1)
    await first.catch(() => {})
    expect(value.value).toBeUndefined()
    expect(flights).toHaveLength(2)
    const third = value.get()
    expect(flights).toHaveLength(2)
    flight(1).land(2)
    expect(await Promise.all([second, third])).toEqual([2, 2])
  })

  it('serves the stale value while it refreshes, and keeps it if that fails', async () => {
    const { run, flight } = controlled()
    const value = eager(run)
    const first = value.get()
    flight(0).land(1)
    await first

    const failing = value.refresh()
    expect(await value.get()).toBe(1)
    flight(1).crash(new Error('no luck'))
    await expect(failing).rejects.toThrow('no luck')
    expect([value.value, await value.get()]).toEqual([1, 1])

    const refreshed = value.refresh()
    flight(2).land(2)
    expect([await refreshed, await value.get()]).toEqual([2, 2])
  })

  it('never answers a refresh with what began to load before it; those meanwhile share one', async () => {
    const { run, flights, flight } = controlled()
    const value = eager(run)
    const first = value.get()
    const refreshes = [value.refresh(), value.refresh(), value.refresh()]
    flight(0).land(1)
    expect(await first).toBe(1)
    await eventually(() => expect(flights).toHaveLength(2))
    flight(1).land(2)
    expect(await Promise.all(refreshes)).toEqual([2, 2, 2])
    expect(flights).toHaveLength(2)
  })

  it('starts one flight for those who retry after a failure and those who refresh', async () => {
    const { run, flights, flight } = controlled()
    const value = eager(run)
    const all = [
      value.get().catch(() => value.get()),
      value.refresh(),
      value.get().catch(() => value.get()),
      value.refresh()
    ]
    flight(0).crash(new Error('first'))
    await eventually(() => expect(flights).toHaveLength(2))
    flight(1).land(2)
    expect(await Promise.all(all)).toEqual([2, 2, 2, 2])
    expect(flights).toHaveLength(2)
  })

  it('does not run in the async context of whoever asked first', async () => {
    const storage = new AsyncLocalStorage<string>()
    const value = eager(async () => storage.getStore() ?? 'nobody')
    expect(await storage.run('first request', () => value.get())).toBe('nobody')
  })

  it('leaves no unhandled rejection, whether or not its promises are awaited', async () => {
    const fixture = startFixture(new URL('fixtures/unawaited.js', import.meta.url))
    expect(await fixture.exited).toEqual({ code: 0, signal: null })
    expect(fixture.output).toBe('done\n')
  })

  it('is typed by its run', () => {
    expectTypeOf(eager(async () => new Map<string, number>())).toEqualTypeOf<
      Eager<Map<string, number>>
    >()
    expectTypeOf(eager(() => 1).get()).resolves.toEqualTypeOf<number>()
    expectTypeOf(eager(() => 1).value).toEqualTypeOf<number | undefined>()
  })

  it('contrast: a memoised promise keeps its failure, and one made on demand runs once for each', async () => {
    let runs = 0
    const load = async (): Promise<void> => {
      const run = ++runs
      await new Promise(setImmediate)
      throw new Error(`run ${run}`)
    }
    const memoised = load()
    await expect(memoised).rejects.toThrow('run 1')
    await expect(memoised).rejects.toThrow('run 1')
    await Promise.allSettled(Array.from({ length: 100 }, load))
    expect(runs).toBe(101)
  })
})
