import { eventually } from '@muster/testkit'
import { Writable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createService, listen } from './service.ts'

describe('start-up timeline', () => {
  it('has each plugin, hold, check and the probe with its duration, and what others add', async () => {
    let up = false
    const app = await createService({ checks: { db: () => up } })
    app.register(async function routes() {
      await pause(60)
    })
    const hold = app.readiness.hold('migrations')
    const end = app.readiness.time('warm-up model')
    await listen(app)
    await eventually(() => expect(app.readiness.report().checks.db?.failures).toBeGreaterThan(0))
    end()
    hold.release()
    up = true
    await app.readiness.whenReady()

    const { timeline } = app.readiness.report()
    const durations = Object.fromEntries(timeline.map(({ name, duration }) => [name, duration]))
    expect(durations['plugin routes']).toBeGreaterThanOrEqual(55)
    expect(durations['hold migrations']).toBeGreaterThanOrEqual(55)
    expect(durations['warm-up model']).toBeGreaterThanOrEqual(55)
    expect(durations['check db']).toBeGreaterThanOrEqual(50)
    expect(durations['self-probe']).toBeLessThan(1_000)
    const probe = timeline.find(({ name }) => name === 'self-probe')
    expect(probe?.start).toBeGreaterThanOrEqual(55)
  })

  it('is told in one log line at the first ready, and stays as it was', async () => {
    const lines: { msg: string }[] = []
    const stream = new Writable({
      write(chunk, _, done) {
        lines.push(JSON.parse(chunk))
        done()
      }
    })
    const app = await createService({}, { logger: { stream } })
    const hold = app.readiness.hold('migrations')
    await listen(app)
    hold.release()
    await app.readiness.whenReady()
    const { timeline } = app.readiness.report()
    app.readiness.hold('reload').release()
    app.readiness.time('late')()

    const told = lines.filter(({ msg }) => msg.startsWith('ready in'))
    expect(told).toHaveLength(1)
    expect(told[0]?.msg).toMatch(/^ready in \d+ ms: .*hold migrations \d+ ms, .*self-probe \d+ ms/)
    expect(app.readiness.report().timeline).toEqual(timeline)
  })
})
