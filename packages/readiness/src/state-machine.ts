import { NotReadyError, ReadyTimeoutError } from './errors.ts'

export type ReadinessState = 'starting' | 'ready' | 'unready' | 'failed' | 'draining'

export interface StateChange {
  state: ReadinessState
  previous: ReadinessState
  /** Why, in words: `check db failed: timeout`, `SIGTERM`. */
  cause: string
}

export type ChangeListener = (change: StateChange) => void

/**
 * Ready is the absence of blockers: the self-probe, each hold and each failing critical check is one.
 * `failed` and `draining` are terminal.
 */
export class StateMachine {
  state: ReadinessState = 'starting'
  cause = 'registered'
  since = Date.now()
  /** Whether it was ever ready. */
  started = false
  readonly #blockers = new Map<string, string>()
  readonly #listeners = new Set<ChangeListener>()
  readonly #onListenerError: (error: unknown) => void

  constructor(onListenerError: (error: unknown) => void) {
    this.#onListenerError = onListenerError
  }

  get terminal(): boolean {
    return this.state === 'failed' || this.state === 'draining'
  }

  /** What keeps it from being ready, with the reason. */
  get waitingFor(): Record<string, string> {
    return Object.fromEntries(this.#blockers)
  }

  block(name: string, why: string): void {
    this.#blockers.set(name, why)
    if (this.state === 'ready') this.#become('unready', `${name}: ${why}`)
  }

  unblock(name: string, cause: string): void {
    if (!this.#blockers.delete(name) || this.#blockers.size > 0 || this.terminal) return
    this.started = true
    this.#become('ready', cause)
  }

  fail(cause: string): void {
    if (!this.terminal) this.#become('failed', cause)
  }

  drain(cause: string): void {
    if (!this.terminal) this.#become('draining', cause)
  }

  on(listener: ChangeListener): void {
    this.#listeners.add(listener)
  }

  off(listener: ChangeListener): void {
    this.#listeners.delete(listener)
  }

  /** Resolves at `ready`; rejects when that can no longer come, or with the signal's reason. */
  whenReady(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): boolean => {
        if (this.state === 'ready') resolve()
        else if (this.state === 'draining') reject(new NotReadyError(this.cause))
        else if (this.state === 'failed') reject(new ReadyTimeoutError(this.cause))
        else if (signal?.aborted) reject(signal.reason)
        else return false
        this.off(settle)
        signal?.removeEventListener('abort', settle)
        return true
      }
      if (settle()) return
      this.on(settle)
      signal?.addEventListener('abort', settle)
    })
  }

  #become(state: ReadinessState, cause: string): void {
    const previous = this.state
    this.state = state
    this.cause = cause
    this.since = Date.now()
    // One by one, so that a listener that throws does not keep the news from the others.
    for (const listener of this.#listeners) {
      // A listener has brought about the next state, of which everybody knows by now.
      if (this.state !== state) return
      try {
        listener({ state, previous, cause })
      } catch (error) {
        this.#onListenerError(error)
      }
    }
  }
}
