import { setImmediate } from 'node:timers/promises'
import { cancelledBecause, shuttingDown } from './errors.ts'
import { assignSeat, idOf, type Registry, type RequestToken } from './request-token.ts'
import { cancel, type Cancellation } from './token.ts'

/** When a shutdown cancels: `soft` when the app starts to close, `hard` when the grace is over. */
export type ShutdownPhase = 'soft' | 'hard'

export const PHASES = { soft: 1, hard: 2, never: Infinity } as const

/** How long the event loop may be held at a time, in ms. */
const SLICE = 2

/** The tokens of the requests in flight that have asked for one. */
export class LiveTokens implements Registry {
  readonly shutdownReasons = { started: shuttingDown(true), late: shuttingDown(false) }
  readonly listenerFailed: (error: unknown) => void
  readonly #tokens: RequestToken[] = []
  readonly #atHard = new Set<() => void>()
  #phase = 0

  constructor(listenerFailed: (error: unknown) => void) {
    this.listenerFailed = listenerFailed
  }

  get phase(): number {
    return this.#phase
  }

  get size(): number {
    return this.#tokens.length
  }

  add(token: RequestToken): void {
    assignSeat(token, this.#tokens.push(token) - 1)
  }

  /** The last one takes the free seat: a Set would hash every token. */
  free(seat: number): void {
    const last = this.#tokens.pop()
    if (!last || seat === this.#tokens.length) return
    this.#tokens[seat] = last
    assignSeat(last, seat)
  }

  /** @returns whether a request with this id was in flight and had asked for its token */
  cancel(id: string, why: string): boolean {
    const tokens = this.#tokens.filter((token) => idOf(token) === id)
    for (const token of tokens) cancel(token, cancelledBecause(why))
    return tokens.length > 0
  }

  /** Cancels what `phase` cancels. Whoever looks sees it at once; signals fire in slices of the event loop. */
  async shutdown(phase: ShutdownPhase): Promise<void> {
    if (PHASES[phase] <= this.#phase) return
    this.#phase = PHASES[phase]
    let sliceEnd = performance.now() + SLICE
    // From the end, because tokens move to lower seats only; new ones look by themselves.
    for (let seat = this.#tokens.length - 1; seat >= 0; seat--) {
      void this.#tokens[seat]?.cancelled
      if (performance.now() < sliceEnd) continue
      await setImmediate()
      sliceEnd = performance.now() + SLICE
    }
    if (phase === 'hard') for (const stop of this.#atHard) stop()
  }

  /** Aborts `ms` after `token` was cancelled, or at the hard point of a shutdown that cancelled it. */
  ceiling(token: Cancellation, ms: number): AbortSignal {
    const controller = new AbortController()
    token.onCancel((reason) => {
      const stop = () => {
        clearTimeout(timer)
        this.#atHard.delete(stop)
        controller.abort(reason)
      }
      const timer = setTimeout(stop, ms)
      if (this.#phase === PHASES.hard) stop()
      else this.#atHard.add(stop)
    })
    return controller.signal
  }
}
