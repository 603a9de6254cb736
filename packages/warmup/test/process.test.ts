import { type Fixture, freePort, startFixture } from '@muster/testkit'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { get } from './service.ts'

function start(env: Record<string, string>): Fixture {
  return startFixture(new URL('fixtures/service.js', import.meta.url), { env })
}

describe('a process', () => {
  it.each([{}, { CATCH: '1' }])(
    'whose listen-gated task fails never binds, says why and exits with 1 (%j)',
    async (env) => {
      const port = await freePort()
      const service = start({ SCENARIO: 'refused', PORT: String(port), ...env })
      const attempts = { answered: 0, refused: 0 }
      let running = true
      const exited = service.exited.finally(() => (running = false))
      while (running) {
        await get(`http://127.0.0.1:${port}/`).then(
          () => attempts.answered++,
          () => attempts.refused++
        )
        await pause(20)
      }
      expect(await exited).toEqual({ code: 1, signal: null })
      expect(attempts).toEqual({ answered: 0, refused: expect.any(Number) })
      expect(service.output).toContain(
        'refusing to listen: db failed: connect postgres://***@db refused'
      )
      expect(service.output).toContain('no route')
      expect(service.output).not.toMatch(/state ready|^listening/m)
    }
  )

  it('whose listen-gated task never ends exits with 1 at the deadline, far beyond pluginTimeout', async () => {
    const service = start({ SCENARIO: 'late', DEADLINE: '1000', PLUGIN_TIMEOUT: '300', CATCH: '1' })
    expect(await service.exited).toEqual({ code: 1, signal: null })
    expect(service.output).toContain(
      'refusing to listen: not done within 1000 ms: db (no answer yet)'
    )
    expect(service.output).toContain('nothing left to do')
  })

  it('whose warm-up takes longer than pluginTimeout listens afterwards', async () => {
    const service = start({ SCENARIO: 'slow', PLUGIN_TIMEOUT: '200' })
    await service.waitFor(/state ready/)
    const [, took] = await service.waitFor(/ready in \d+ ms: .*warmup db (\d+) ms/)
    expect(Number(took)).toBeGreaterThanOrEqual(690)
    await service.kill()
  })

  it('whose warm-up ends in a fatal error after listening disposes, closes and exits with 1', async () => {
    const service = start({ SCENARIO: 'fatal' })
    expect(await service.exited).toEqual({ code: 1, signal: null })
    expect(service.output).toContain('model failed: no such model')
    expect(service.output).toContain('db disposed')
    expect(service.output).not.toContain('state ready')
  })

  it.each(['listen', 'ready'])(
    "ends promptly on SIGTERM during a warm-up with gate '%s', and is never ready",
    async (gate) => {
      const service = start({ SCENARIO: 'held', GATE: gate, SHUTDOWN: '1', CATCH: '1' })
      await service.waitFor(/model runs/)
      const asked = performance.now()
      service.signal('SIGTERM')
      expect(await service.exited).toEqual({ code: 0, signal: null })
      expect(performance.now() - asked).toBeLessThan(2_000)
      expect(service.output).toContain('db disposed')
      expect(service.output).not.toContain('state ready')
      expect(service.output.includes('caught MUSTER_ERR_WARMUP_STOPPED')).toBe(gate === 'listen')
    }
  )
})
