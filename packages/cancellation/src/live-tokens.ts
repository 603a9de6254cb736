import { setImmediate } from 'node:timers/promises'
import { shutdown } from './errors.ts'
import { type Shutdown, Token, type TokenOptions } from './token.ts'

/** When a shutdown cancels: `soft` when the app starts to close, `hard` when the grace is over. */
export type ShutdownPhase = 'soft' | 'hard'

export const PHASES = { soft: 1, hard: 2, never: Infinity } as const

/** How long the event loop may be held at a time, in ms. */
const SLICE = 2

/** The tokens of the requests in flight that have asked for one. */
export class LiveTokens implements Shutdown {
  readonly reasons = { started: shutdown(true), late: shutdown(false) }
  readonly #tokens = new Set<Token>()
  #phase = 0

  get phase(): number {
    return this.#phase
  }

  get size(): number {
    return this.#tokens.size
  }

  create(options: Omit<TokenOptions, 'shutdown' | 'onOver'>): Token {
    let over = false
    const token = new Token({
      ...options,
      shutdown: this,
      onOver: (ended) => {
        over = true
        this.#tokens.delete(ended)
      }
    })
    if (!over) this.#tokens.add(token)
    return token
  }

  /** Cancels what `phase` cancels. Whoever looks sees it at once; signals fire in slices of the event loop. */
  async shutdown(phase: ShutdownPhase): Promise<void> {
    if (PHASES[phase] <= this.#phase) return
    this.#phase = PHASES[phase]
    let sliceEnd = performance.now() + SLICE
    for (const token of this.#tokens) {
      void token.cancelled
      if (performance.now() < sliceEnd) continue
      await setImmediate()
      sliceEnd = performance.now() + SLICE
    }
  }
}
