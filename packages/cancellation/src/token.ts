import { setImmediate } from 'node:timers/promises'
import { type CancellationError, deadlinePassed, ShieldTimeoutError } from './errors.ts'

const LONGEST_TIMER = 2 ** 31 - 1

/** Whether, and why, nobody wants a piece of work any more. It can be read, not used to cancel. */
export interface Cancellation {
  /** Whether it is cancelled now; also right in a loop that never yields. */
  readonly cancelled: boolean
  /** Why; the first cause wins. */
  readonly reason: CancellationError | undefined
  /** Aborts with `reason`. Made when first read. */
  readonly signal: AbortSignal
  /** When it will be cancelled, in ms since the epoch, if there is a deadline. */
  readonly deadline: number | undefined
  /** ms until the deadline, 0 when it has passed, Infinity without one. */
  remaining(): number
  /** @throws the reason, if cancelled */
  throwIfCancelled(): void
  /**
   * Lets the event loop turn once.
   * @throws the reason, if cancelled before or after
   */
  checkpoint(): Promise<void>
  /** What `work` comes to, or the reason as soon as it is cancelled; `work` itself goes on. */
  race<T>(work: Promise<T>): Promise<T>
  /** Calls `listener` when cancelled, at once if it is; not after the request has ended or it was disposed. */
  onCancel(listener: (reason: CancellationError) => unknown): Disposable
  /**
   * Runs clean-up that must not be cut short by the cancellation.
   * @param work gets a signal that aborts after `max` ms, and not before
   * @throws MUSTER_ERR_SHIELD_TIMEOUT after `max` ms
   */
  shield<T>(work: (signal: AbortSignal) => Promise<T>, options: { max: number }): Promise<T>
  /** What a worker thread makes the same interface of, with `fromShared()`. Goes into workerData or a message. */
  share(): SharedCancellation
}

/** The state of a token in memory that threads share. */
export interface SharedCancellation {
  readonly buffer: SharedArrayBuffer
  readonly deadline: number | undefined
}

type Listener = (reason: CancellationError) => unknown

/** Cancels a token. Not a method, so that nobody who is handed a token can. */
export let cancel: (token: Token, reason: CancellationError) => void

/** Whether somebody waits to be told, so that finding out when looking is not enough. */
export let isWatched: (token: Token) => boolean

/** Tells a token that it will not be cancelled any more. */
export let close: (token: Token) => void

export abstract class Token implements Cancellation {
  readonly #deadline: number | undefined
  #reason: CancellationError | undefined
  #controller: AbortController | undefined
  #listeners: Set<Listener> | undefined
  #timer: NodeJS.Timeout | undefined
  #watched = false
  #closed = false

  static {
    cancel = (token, reason) => token.#cancel(reason)
    isWatched = (token) => token.#watched
    close = (token) => token.#close()
  }

  constructor(deadline: number | undefined) {
    this.#deadline = deadline
  }

  /** Why it has to be cancelled by now, apart from the deadline. */
  protected abstract look(): CancellationError | undefined

  /** Called once, when somebody waits to be told instead of looking. */
  protected watch(): void {}

  /** Whether the work was done in time, so that no cause counts any more. */
  protected isDone(): boolean {
    return false
  }

  /** Called with what a listener threw. */
  protected abstract listenerFailed(error: unknown): void

  abstract share(): SharedCancellation

  get cancelled(): boolean {
    return this.reason !== undefined
  }

  get reason(): CancellationError | undefined {
    if (this.#reason !== undefined || this.#closed) return this.#reason
    const reason = this.look() ?? this.#late()
    if (reason) this.#cancel(reason)
    return this.#reason
  }

  get signal(): AbortSignal {
    if (this.#controller) return this.#controller.signal
    this.#controller = new AbortController()
    if (this.reason) this.#controller.abort(this.#reason)
    else this.#watch()
    return this.#controller.signal
  }

  get deadline(): number | undefined {
    return this.#deadline
  }

  remaining(): number {
    return this.#deadline === undefined ? Infinity : Math.max(0, this.#deadline - Date.now())
  }

  throwIfCancelled(): void {
    if (this.reason) throw this.#reason
  }

  async checkpoint(): Promise<void> {
    this.throwIfCancelled()
    await setImmediate()
    this.throwIfCancelled()
  }

  race<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const watching = this.onCancel(reject)
      void work.then(resolve, reject).then(() => watching[Symbol.dispose]())
    })
  }

  onCancel(listener: Listener): Disposable {
    // A function of its own for each call: the same listener may be given twice.
    const call: Listener = (reason) => listener(reason)
    if (this.reason) this.#tell(call, this.reason)
    else if (!this.#closed) {
      this.#listeners ??= new Set()
      this.#listeners.add(call)
      this.#watch()
    }
    return { [Symbol.dispose]: () => void this.#listeners?.delete(call) }
  }

  async shield<T>(work: (signal: AbortSignal) => Promise<T>, { max }: { max: number }): Promise<T> {
    const controller = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const expired = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const error = new ShieldTimeoutError(max, { cause: this.reason })
        controller.abort(error)
        reject(error)
      }, max)
    })
    try {
      return await Promise.race([work(controller.signal), expired])
    } finally {
      clearTimeout(timer)
    }
  }

  #late(): CancellationError | undefined {
    const late = this.#deadline !== undefined && Date.now() >= this.#deadline
    return late ? deadlinePassed(true) : undefined
  }

  #watch(): void {
    if (this.#watched || this.#closed) return
    this.#watched = true
    this.watch()
    if (this.#deadline === undefined) return
    // A timer may fire a millisecond before the clock has got there.
    const wait = Math.min(this.remaining() + 1, LONGEST_TIMER)
    this.#timer = setTimeout(() => void this.reason, wait)
  }

  #cancel(reason: CancellationError): void {
    if (this.#reason || this.#closed || this.isDone()) return
    this.#reason = reason
    clearTimeout(this.#timer)
    this.#controller?.abort(reason)
    const listeners = this.#listeners
    this.#listeners = undefined
    for (const listener of listeners ?? []) this.#tell(listener, reason)
  }

  #tell(listener: Listener, reason: CancellationError): void {
    try {
      const result = listener(reason)
      if (result instanceof Promise) result.catch((error) => this.listenerFailed(error))
    } catch (error) {
      this.listenerFailed(error)
    }
  }

  #close(): void {
    this.#closed = true
    this.#listeners = undefined
    clearTimeout(this.#timer)
  }
}

Object.freeze(Token.prototype)
