import { eventually } from '@muster/testkit'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import Fastify from 'fastify'
import { warmup } from '../src/index.ts'

const ROUNDS = 200

/** Whatever the moment is: in the middle of a run, of a pause, of a refresh, or between two of them. */
const moment = () => pause(Math.random() * 12)

describe('closing at any moment', () => {
  it(`disposes of each value once, and begins nothing more, ${ROUNDS} times`, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const made: string[] = []
      const disposed: string[] = []
      let closed = false
      let begunAfterwards = 0

      const task = (name: string, after: string[]) => ({
        after,
        retry: { min: 1, max: 4 },
        run: async () => {
          if (closed) begunAfterwards++
          await moment()
          if (Math.random() < 0.3) throw new Error('no luck')
          made.push(`${name} ${made.length}`)
          return made.at(-1) as string
        },
        dispose: async (value: string) => {
          await pause(1)
          disposed.push(value)
        }
      })
      const app = Fastify()
      const gate = round % 2 === 0 ? 'ready' : 'listen'
      const tasks = { first: { ...task('first', []), gate }, second: task('second', ['first']) }
      await app.register(warmup, { tasks } as Parameters<typeof warmup>[1])
      const booted = app.ready().then(undefined, () => {})
      await moment()
      if (round % 3 === 0) void app.warmup.refresh('first')
      await moment()
      void app.readiness.drain('SIGTERM')
      await app.close()
      closed = true
      await booted
      await eventually(() => expect(disposed.toSorted()).toEqual(made.toSorted()))
      expect(begunAfterwards).toBe(0)
    }
  })
})
