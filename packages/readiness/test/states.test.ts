import { eventually } from '@muster/testkit'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, expectTypeOf, it } from 'vitest'
import type { ReadinessState } from '../src/index.ts'
import { changesOf, createService, listen } from './service.ts'

describe('states', () => {
  it('starts as starting and is ready once it has reached itself', async () => {
    const app = await createService()
    const changes = changesOf(app)
    expect(app.readiness.state).toBe('starting')

    await listen(app)
    await app.readiness.whenReady()

    expect(app.readiness.state).toBe('ready')
    expect(changes).toEqual([{ state: 'ready', previous: 'starting', cause: 'self-probe passed' }])
    expectTypeOf(app.readiness.state).toEqualTypeOf<ReadinessState>()
  })

  it('tells nobody anything under inject', async () => {
    const app = await createService({ checks: { db: () => expect.fail('a check ran') } })
    const changes = changesOf(app)
    expect((await app.inject('/')).body).toBe('served')
    expect(changes).toEqual([])
    expect(app.readiness.state).toBe('starting')
  })

  it('fails with what was missing when the timeout is over, and stays for inspection if asked to', async () => {
    const app = await createService({ timeout: 100, onFailed: 'stay' })
    app.readiness.hold('migrations')
    await listen(app)

    await expect(app.readiness.whenReady()).rejects.toMatchObject({
      code: 'MUSTER_ERR_READY_TIMEOUT',
      message: expect.stringContaining('hold migrations (not released yet)')
    })
    expect(app.readiness.state).toBe('failed')
    expect(app.server.listening).toBe(true)
  })

  it('never leaves failed: what was missing comes too late', async () => {
    const app = await createService({ timeout: 60, onFailed: 'stay' })
    const hold = app.readiness.hold('migrations')
    await listen(app)
    await expect(app.readiness.whenReady()).rejects.toThrow('migrations')
    const changes = changesOf(app)

    hold.release()
    await app.readiness.drain()

    expect(changes).toEqual([])
    expect(app.readiness.state).toBe('failed')
  })

  it('closes the app and sets the exit code when it fails', async () => {
    const app = await createService({ timeout: 60 })
    app.readiness.hold('migrations')
    await listen(app)
    await eventually(() => expect(app.server.listening).toBe(false))
    expect(process.exitCode).toBe(1)
  })

  it('drains on a bare close', async () => {
    const app = await createService()
    const changes = changesOf(app)
    await listen(app)
    await app.readiness.whenReady()
    await app.close()
    expect(changes.at(-1)).toEqual({ state: 'draining', previous: 'ready', cause: 'app.close()' })
  })

  it('rejects whenReady with the reason of the signal, or because it drains', async () => {
    const app = await createService()
    const leave = new AbortController()
    const left = app.readiness.whenReady({ signal: leave.signal })
    const waiting = app.readiness.whenReady()
    leave.abort(new Error('enough'))
    await expect(left).rejects.toThrow('enough')
    void app.readiness.drain('SIGTERM')
    await expect(waiting).rejects.toMatchObject({ code: 'MUSTER_ERR_NOT_READY' })
    await expect(app.readiness.whenReady()).rejects.toThrow('SIGTERM')
  })

  it('tells every listener, also after one that throws', async () => {
    const app = await createService()
    app.readiness.on('change', () => {
      throw new Error('listener')
    })
    const changes = changesOf(app)
    await listen(app)
    await app.readiness.whenReady()
    expect(changes).toHaveLength(1)
  })

  it('announces nothing when it was closed before it listened, many times', async () => {
    for (let round = 0; round < 30; round++) {
      const app = await createService()
      const changes = changesOf(app)
      // Never settles when the app was closed first, so it is not waited for.
      void app.listen({ port: 0, host: '127.0.0.1' }).catch(() => {})
      await app.close()
      await pause(5)
      expect(changes.map(({ state }) => state)).not.toContain('ready')
    }
  })
})

describe('identity', () => {
  it('names the service after the nearest package.json and the instance so that it can be read', async () => {
    const app = await createService({ service: undefined })
    const { identity } = app.readiness
    expect(identity).toMatchObject({ service: 'readiness', pid: process.pid, version: '0.1.0' })
    expect(identity.instanceId).toMatch(new RegExp(`-${process.pid}-[0-9a-f]{4}$`))
    expect(identity.incarnation).toMatch(/^[0-9a-f]{16}$/)
  })

  it('is another one for each app', async () => {
    const [one, two] = [await createService(), await createService()]
    expect(one.readiness.identity.incarnation).not.toBe(two.readiness.identity.incarnation)
  })
})

describe('holds', () => {
  it('keep it from being ready until released', async () => {
    const app = await createService()
    const hold = app.readiness.hold('migrations')
    await listen(app)
    await eventually(() =>
      expect(Object.keys(app.readiness.report().waitingFor)).toEqual(['hold migrations'])
    )
    hold.release()
    expect(app.readiness.state).toBe('ready')
    expect(app.readiness.cause).toBe('hold migrations was released')
  })

  it('make a ready service unready and back', async () => {
    const app = await createService()
    await listen(app)
    await app.readiness.whenReady()
    const changes = changesOf(app)
    const hold = app.readiness.hold('reload')
    hold.release()
    hold.release()
    expect(changes.map(({ state, previous }) => [previous, state])).toEqual([
      ['ready', 'unready'],
      ['unready', 'ready']
    ])
  })

  it('have names of their own', async () => {
    const app = await createService()
    app.readiness.hold('migrations')
    expect(() => app.readiness.hold('migrations')).toThrow(
      expect.objectContaining({ code: 'MUSTER_ERR_OPTION' })
    )
  })
})

describe('drain', () => {
  it('runs every withdrawal at once, while traffic is still served', async () => {
    const app = await createService()
    const origin = await listen(app)
    await app.readiness.whenReady()
    const steps: string[] = []
    app.readiness.onDrain('registry', async () => {
      expect(app.readiness.state).toBe('draining')
      steps.push((await fetch(origin).then((response) => response.text())) + ' while withdrawing')
    })
    app.readiness.onDrain('marker', () => void steps.push('marker'))

    await app.readiness.drain('SIGTERM')

    expect(steps).toEqual(['marker', 'served while withdrawing'])
  })

  it('is done once, whoever asks', async () => {
    const app = await createService()
    let runs = 0
    app.readiness.onDrain('registry', () => void runs++)
    await Promise.all([app.readiness.drain(), app.readiness.drain()])
    await app.close()
    expect(runs).toBe(1)
  })

  it('is bounded: a step that hangs gets its signal and is left, one that throws is logged', async () => {
    const app = await createService({ withdrawTimeout: 80 })
    let aborted = false
    app.readiness.onDrain('deaf', (signal) => {
      signal.addEventListener('abort', () => (aborted = true))
      return new Promise(() => {})
    })
    app.readiness.onDrain('broken', () => {
      throw new Error('no')
    })
    await app.readiness.drain()
    expect(aborted).toBe(true)
  })
})

describe('fail', () => {
  it('gives up at once, for good, and says what was missing', async () => {
    const app = await createService({ onFailed: 'stay' })
    app.readiness.hold('model')
    await listen(app)
    app.readiness.fail('warm-up task model: no such file')
    await expect(app.readiness.whenReady()).rejects.toThrow(
      /warm-up task model: no such file: waiting for .*hold model/
    )
    const changes = changesOf(app)
    app.readiness.fail('again')
    expect(changes).toEqual([])
  })

  it('takes back what was announced', async () => {
    const app = await createService({ onFailed: 'stay' })
    let withdrawn = 0
    app.readiness.onDrain('registry', () => void withdrawn++)
    await listen(app)
    await app.readiness.whenReady()
    app.readiness.fail('the model is broken')
    expect(app.readiness.cause).toBe('the model is broken')
    expect(withdrawn).toBe(1)
  })
})
