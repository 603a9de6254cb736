import { eventually } from '@muster/testkit'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { changesOf, createService, get, listen } from './service.ts'

describe('checks', () => {
  it('must have passed before the service is ready', async () => {
    let up = false
    const app = await createService({
      checks: {
        db: () => {
          if (!up) throw new Error('connect ECONNREFUSED')
        }
      }
    })
    await listen(app)
    await eventually(() =>
      expect(app.readiness.report().waitingFor).toEqual({ 'check db': 'connect ECONNREFUSED' })
    )
    up = true
    await app.readiness.whenReady()
    expect(app.readiness.cause).toBe('check db passes')
  })

  it('make a ready service unready after `failures` in a row, and ready again after one success', async () => {
    let up = true
    let runs = 0
    const check = async () => {
      runs++
      return up
    }
    const app = await createService({ checks: { db: { check, interval: 50, failures: 3 } } })
    await listen(app)
    await app.readiness.whenReady()
    const changes = changesOf(app)

    up = false
    runs = 0
    await eventually(() => expect(app.readiness.state).toBe('unready'))
    expect(runs).toBeGreaterThanOrEqual(3)
    up = true
    await eventually(() => expect(app.readiness.state).toBe('ready'))

    expect(changes.map(({ state, cause }) => [state, cause])).toEqual([
      ['unready', 'check db: it answered false'],
      ['ready', 'check db passes']
    ])
  })

  it('do not shake a service that fails less often in a row', async () => {
    let runs = 0
    const check = () => ++runs % 3 !== 0
    const app = await createService({ checks: { db: { check, interval: 50, failures: 2 } } })
    await listen(app)
    await app.readiness.whenReady()
    const changes = changesOf(app)
    await eventually(() => expect(runs).toBeGreaterThan(9))
    expect(changes).toEqual([])
  })

  it.each([
    ['throws', () => Promise.reject(new Error('down')), 'down'],
    ['throws nothing', () => Promise.reject(), 'it threw nothing'],
    ['answers null', () => null, 'it answered null'],
    ['answers 0', () => 0, 'it answered 0'],
    ['answers an Error', () => new Error('down'), 'down']
  ])('that %s fails closed', async (_, check, message) => {
    const app = await createService({ checks: { db: check } })
    await listen(app)
    await eventually(() => expect(app.readiness.report().checks.db?.error).toBe(message))
    expect(app.readiness.state).toBe('starting')
  })

  it('that hangs fails closed, is told by its signal, and is not started a second time meanwhile', async () => {
    const signals: AbortSignal[] = []
    const check = ({ signal }: { signal: AbortSignal }) => {
      signals.push(signal)
      return new Promise(() => {})
    }
    const app = await createService({ checks: { db: { check, timeout: 60, interval: 50 } } })
    await listen(app)
    await eventually(() =>
      expect(app.readiness.report().checks.db?.error).toBe('the previous run has not ended')
    )
    expect(signals).toHaveLength(1)
    expect(signals[0]?.aborted).toBe(true)
  })

  it('that are not critical are shown as failing without failing the service', async () => {
    const app = await createService({ checks: { cache: { check: () => false, critical: false } } })
    await listen(app)
    await app.readiness.whenReady()
    await eventually(() => expect(app.readiness.report().checks.cache?.status).toBe('failing'))
    expect(app.readiness.state).toBe('ready')
  })

  it('are never waited for by a probe request', async () => {
    const app = await createService({
      checks: { slow: { check: () => new Promise(() => {}), timeout: 5_000 } }
    })
    const origin = await listen(app)
    expect((await get(`${origin}/readyz`)).status).toBe(503)
    expect((await get(`${origin}/livez`)).status).toBe(200)
  })

  it('end with the app: the signal of a running one is aborted', async () => {
    let signal: AbortSignal | undefined
    const app = await createService({
      checks: {
        db: (context) => {
          signal = context.signal
          return once(context.signal, 'abort')
        }
      }
    })
    await listen(app)
    await eventually(() => expect(signal).toBeDefined())
    await app.close()
    expect(signal?.aborted).toBe(true)
  })
})
