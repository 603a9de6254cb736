import type { Instance, PresenceEvent } from '@muster/presence'
import {
  eventually,
  type Fixture,
  type RedisServer,
  startFixture,
  startRedis
} from '@muster/testkit'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createService } from './service.ts'

const FIXTURE = new URL('fixtures/same-id.js', import.meta.url)
const ROUNDS = 10

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.close())

function count(fixture: Fixture, pattern: RegExp): number {
  return [...fixture.output.matchAll(pattern)].length
}

describe('two processes with one instance id', () => {
  it('the older is fenced and says so once, the newer survives its exit, 10 times', async () => {
    const started = performance.now()
    const namespace = randomUUID()
    const { app } = await createService({ redis: server.url, namespace })
    await app.ready()
    const events: Exclude<PresenceEvent, { type: 'snapshot' }>[] = []
    void (async () => {
      for await (const event of app.presence.watch('billing')) {
        if (event.type !== 'snapshot') events.push(event)
      }
    })()

    function start(id: string): Fixture {
      const env = { INSTANCE: id, REDIS_URL: server.url, NAMESPACE: namespace }
      const fixture = startFixture(FIXTURE, { env })
      onTestFinished(() => fixture.kill())
      return fixture
    }

    /** The only instance there is, if it is ready. */
    async function holder(): Promise<{ pid: number; age: number }> {
      const instances = await app.presence.instances('billing', { age: true })
      expect(instances).toEqual([expect.objectContaining({ status: 'ready', ready: true })])
      const { pid, age = Infinity } = instances[0] as Instance
      return { pid, age }
    }

    for (let round = 0; round < ROUNDS; round++) {
      const id = `i${round}`
      const older = start(id)
      await older.waitFor(/^ready$/m)
      await eventually(async () => expect((await holder()).pid).toBe(older.pid))
      const newer = start(id)
      await newer.waitFor(/^ready$/m)
      await eventually(async () => expect((await holder()).pid).toBe(newer.pid))
      // Every other time it is told to end before it may have noticed.
      if (round % 2 === 0) await older.waitFor(/^state: fenced$/m)
      older.signal('SIGTERM')
      expect(await older.exited).toEqual({ code: 0, signal: null })
      const over = performance.now()
      expect(older.output).toMatch(/^closed$/m)
      expect(count(older, /^state: fenced$/gm)).toBe(1)
      expect(count(older, /another start of this instance holds its id/g)).toBe(1)
      expect(count(older, /^state: (lost|left)$/gm)).toBe(0)

      // It beats on: it was heard of after the older had gone.
      await eventually(async () => {
        const since = performance.now() - over
        const { pid, age } = await holder()
        expect(pid).toBe(newer.pid)
        expect(age).toBeLessThan(since)
      })
      newer.signal('SIGTERM')
      expect(await newer.exited).toEqual({ code: 0, signal: null })
      expect(count(newer, /^state: /gm)).toBe(2)
      expect(newer.output).toMatch(/^state: present$[^]*^state: left$/m)
      await eventually(() => {
        const changes = events.filter(
          ({ type, instance }) => type !== 'update' && instance.instanceId === id
        )
        expect(changes.map(({ type, instance }) => [type, instance.pid])).toEqual([
          ['join', older.pid],
          ['replace', newer.pid],
          ['leave', newer.pid]
        ])
      })
      expect(await app.presence.instances('billing')).toEqual([])
    }
    expect(performance.now() - started).toBeLessThan(15_000)
  })
})
