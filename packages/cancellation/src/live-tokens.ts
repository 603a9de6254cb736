import { setImmediate } from 'node:timers/promises'
import { cancelledBecause, shuttingDown } from './errors.ts'
import { assignSeat, idOf, type Registry, type RequestToken } from './request-token.ts'
import { cancel, type Cancellation, isWatched } from './token.ts'

/** When a shutdown cancels: `soft` when the app starts to close, `hard` when the grace is over. */
export type ShutdownPhase = 'soft' | 'hard'

export const PHASES = { soft: 1, hard: 2, never: Infinity } as const

/** How long one turn of the event loop may take, in ms, with all that cancelled handlers do in it. */
const TURN = 1

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
    for (const token of tokens) if (!token.reason) cancel(token, cancelledBecause(why))
    return tokens.length > 0
  }

  /** Cancels what `phase` cancels. Whoever looks sees it at once; who waits is told in short turns of the event loop. */
  async shutdown(phase: ShutdownPhase): Promise<void> {
    if (PHASES[phase] <= this.#phase) return
    this.#phase = PHASES[phase]
    let batch = 32
    let told = 0
    let begun = performance.now()
    // From the end, because tokens move to lower seats only; new ones look by themselves.
    for (let seat = this.#tokens.length - 1; seat >= 0; seat--) {
      const token = this.#tokens[seat]
      if (!token || !isWatched(token) || !token.cancelled || ++told < batch) continue
      await setImmediate()
      const now = performance.now()
      batch = Math.ceil(batch * Math.min(2, TURN / (now - begun)))
      begun = now
      told = 0
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
      // What it is for keeps the process alive itself, where that is needed.
      const timer = setTimeout(stop, ms).unref()
      if (this.#phase === PHASES.hard) stop()
      else this.#atHard.add(stop)
    })
    return controller.signal
  }
}
