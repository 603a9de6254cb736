import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { eager } from '../src/index.ts'

type Step = 'get' | 'leave' | 'refresh' | 'cancel' | 'land' | 'crash' | 'turn'

interface Flight {
  number: number
  signal: AbortSignal
  settled: boolean
  land(value: number): void
  crash(error: unknown): void
}

const steps = fc.array(
  fc.constantFrom<Step>('get', 'leave', 'refresh', 'cancel', 'land', 'crash', 'turn'),
  { maxLength: 40 }
)

/** Plays the steps and returns what was broken. */
async function play(script: Step[]): Promise<string[]> {
  const broken: string[] = []
  const flights: Flight[] = []
  const waiting: Promise<void>[] = []
  const flying = () => flights.filter(({ settled, signal }) => !settled && !signal.aborted)
  const value = eager(({ signal }) => {
    if (flying().length > 0) broken.push('two flights at a time')
    return new Promise<number>((land, crash) => {
      flights.push({ number: flights.length, signal, settled: false, land, crash })
    })
  })

  function settle(how: 'land' | 'crash'): void {
    const flight = flights.find(({ settled }) => !settled)
    if (!flight) return
    flight.settled = true
    flight[how](flight.number)
  }

  /** Whoever asks may be answered by the flight under way or a later one; a refresh by later ones only. */
  function ask(kind: 'get' | 'refresh', signal?: AbortSignal): void {
    const known = value.value
    const before = flights.length
    const under = flying().at(-1)?.number
    const oldest = kind === 'refresh' ? before : (known ?? under ?? before)
    const check = (answer: unknown): void => {
      if (typeof answer === 'number' && answer < oldest) broken.push(`${kind} got ${answer}`)
    }
    waiting.push(value[kind](signal && { signal }).then(check, check))
  }

  for (const step of script) {
    if (step === 'get' || step === 'refresh') ask(step)
    else if (step === 'leave') ask('get', AbortSignal.abort('left'))
    else {
      if (step === 'cancel') value.cancel('cancelled')
      else if (step !== 'turn') settle(step)
      // What is settled or cancelled is known to be so in a moment.
      await new Promise(setImmediate)
    }
  }
  while (flights.some(({ settled }) => !settled)) {
    settle('land')
    await new Promise(setImmediate)
  }
  await Promise.all(waiting)
  return broken
}

describe('flights', () => {
  it('are one at a time, and answer nobody with what is older than they may expect, in 2,000 stories', async () => {
    const property = fc.asyncProperty(steps, async (script) => {
      expect(await play(script)).toEqual([])
    })
    await fc.assert(property, { numRuns: 2_000 })
  })
})
