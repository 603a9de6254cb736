import type { Instance } from '@muster/presence'
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

/** The states of presence it went through. */
function states({ output }: Fixture): (string | undefined)[] {
  return [...output.matchAll(/^state: (\w+)$/gm)].map(([, state]) => state)
}

describe('two processes with one instance id', () => {
  it('the older is fenced and says so once, the newer survives its exit, 10 times', async () => {
    const namespace = randomUUID()
    const { app } = await createService({ redis: server.url, namespace })
    await app.ready()
    const changes: [type: string, pid: number][] = []
    void (async () => {
      for await (const event of app.presence.watch('billing')) {
        if (event.type === 'snapshot' || event.type === 'update') continue
        changes.push([event.type, event.instance.pid])
      }
    })()

    /** The only instance there is, if it is ready. */
    async function holder(): Promise<Instance> {
      const instances = await app.presence.instances('billing', { age: true })
      expect(instances).toEqual([expect.objectContaining({ status: 'ready', ready: true })])
      return instances[0] as Instance
    }

    /** Resolves when it holds the id. */
    async function start(): Promise<Fixture> {
      const env = { INSTANCE: 'billing-1', REDIS_URL: server.url, NAMESPACE: namespace }
      const fixture = startFixture(FIXTURE, { env })
      onTestFinished(() => fixture.kill())
      await fixture.waitFor(/^ready$/m)
      await eventually(async () => expect((await holder()).pid).toBe(fixture.pid))
      return fixture
    }

    let older = await start()
    const expected = [['join', older.pid]]
    for (let round = 0; round < ROUNDS; round++) {
      const newer = await start()
      expected.push(['replace', newer.pid])
      // Every other time it is told to end before it may have noticed.
      if (round % 2 === 0) await older.waitFor(/^state: fenced$/m)
      older.signal('SIGTERM')
      expect(await older.exited).toEqual({ code: 0, signal: null })
      const over = performance.now()
      expect(states(older)).toEqual(['present', 'fenced'])
      expect(older.output.match(/another start of this instance holds its id/g)).toHaveLength(1)

      // It beats on: it was heard of after the older had gone.
      await eventually(async () => {
        const since = performance.now() - over
        const { pid, age } = await holder()
        expect(pid).toBe(newer.pid)
        expect(age).toBeLessThan(since)
      })
      expect(states(newer)).toEqual(['present'])
      older = newer
    }

    older.signal('SIGTERM')
    expect(await older.exited).toEqual({ code: 0, signal: null })
    expect(states(older)).toEqual(['present', 'left'])
    expected.push(['leave', older.pid])
    await eventually(() => expect(changes).toEqual(expected))
    expect(await app.presence.instances('billing')).toEqual([])
  })
})
