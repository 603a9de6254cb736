import { setTimeout as pause } from 'node:timers/promises'
import { backoff } from './backoff.ts'
import { type Run, type RunContext, SingleFlight, type WaitOptions } from './eager.ts'
import { messageOf } from './redacted.ts'
import { WarmingUpError, WarmupFailedError, WarmupTimeoutError } from './errors.ts'
import { isFatal } from './fatal.ts'
import { type Gate, type Logger, TaskProgress, type TaskReport } from './task-progress.ts'
import { runWithin, within } from './within.ts'

export interface TaskSettings {
  run: Run | SingleFlight<unknown>
  gate: Gate
  timeout: number
  retry: { min: number; max: number } | false
  dispose?: ((value: never) => unknown) | undefined
}

/** ms */
export const DISPOSAL_LIMIT = 5_000

/** One thing to be made at boot: again and again until it succeeds, fails for good, or the service goes. */
export class Task {
  readonly name: string
  readonly gate: Gate
  readonly #settings: TaskSettings
  readonly #after: Task[]
  /** Aborted when the service goes: what is on its way ends, and nothing new begins. */
  readonly #life: AbortSignal
  readonly #progress: TaskProgress
  readonly #flight: SingleFlight<unknown>
  readonly #release: () => void
  #completion: Promise<void> | undefined
  #built: { value: unknown } | undefined

  constructor(name: string, settings: TaskSettings, after: Task[], life: AbortSignal, log: Logger) {
    const { run, gate } = settings
    this.name = name
    this.gate = gate
    this.#settings = settings
    this.#after = after
    this.#life = life
    this.#progress = new TaskProgress(name, gate, log)
    this.#flight = run instanceof SingleFlight ? run : new SingleFlight(run)
    this.#release = this.#flight.adopt((bare) => (context) => this.#attempt(bare, context))
    life.addEventListener('abort', () => this.#flight.cancel(life.reason))
  }

  get(options: WaitOptions = {}): Promise<unknown> {
    return this.#join(this.#flight.get(), options)
  }

  refresh(options: WaitOptions = {}): Promise<unknown> {
    return this.#join(this.#flight.refresh(), options)
  }

  /**
   * Resolves when it has succeeded, by whichever attempt. Rejects with MUSTER_ERR_WARMUP_FAILED when no further
   * attempt will be made; then the next call begins anew.
   */
  complete(): Promise<void> {
    this.#completion ??= this.#persist().catch((error) => {
      this.#completion = undefined
      throw error
    })
    this.#completion.catch(() => {})
    return this.#completion
  }

  get done(): boolean {
    return this.#progress.succeeded
  }

  /** Its name, and why it is not done. */
  get missing(): string {
    const ahead = this.#after.filter(({ done }) => !done).map(({ missing }) => missing)
    const { error = 'no answer yet' } = this.report
    return `${this.name} (${ahead.length > 0 ? `after ${ahead.join(', ')}` : error})`
  }

  /** ms until the value may be there: as long again as it has taken, or until the next attempt. */
  get estimate(): number {
    const { nextAttempt = 0, elapsed } = this.#progress
    return Math.max(nextAttempt - Date.now(), elapsed)
  }

  get report(): TaskReport {
    return this.#progress.report
  }

  /** Gives back what was made. Never rejects. */
  async dispose(): Promise<void> {
    const built = this.#built
    this.#built = undefined
    this.#release()
    if (built) await this.#disposeOf(built.value)
  }

  #join(landing: Promise<unknown>, options: WaitOptions): Promise<unknown> {
    const late = () => {
      const headers = { 'retry-after': retryAfter(this.estimate) }
      return Object.assign(new WarmingUpError(this.name), { headers })
    }
    const joined = within(landing, { ...options, late })
    joined.catch(() => {})
    return joined
  }

  async #persist(): Promise<void> {
    this.#progress.waiting()
    try {
      await Promise.all(this.#after.map((task) => task.complete()))
    } catch (cause) {
      this.#progress.stopped(cause)
      throw new WarmupFailedError(`${this.name} cannot begin: ${messageOf(cause)}`, { cause })
    }
    for (;;) {
      try {
        this.#keep(await this.#flight.get())
        return
      } catch (cause) {
        if (this.#life.aborted) {
          this.#progress.stopped(this.#life.reason)
          throw this.#life.reason
        }
        if (this.#settings.retry !== false && !isFatal(cause)) continue
        this.#progress.failed(cause)
        throw new WarmupFailedError(`${this.name} failed: ${messageOf(cause)}`, { cause })
      }
    }
  }

  /** What each flight is, whoever started it. */
  async #attempt(run: Run, { signal }: RunContext): Promise<unknown> {
    const { timeout, retry } = this.#settings
    this.#life.throwIfAborted()
    this.#progress.waiting()
    await this.#backOff(signal)
    await Promise.all(this.#after.map((task) => task.get({ signal })))
    this.#progress.running()
    const late = () => new WarmupTimeoutError(this.name, timeout)
    const abandoned = (value: unknown): void => void this.#disposeOf(value)
    try {
      const value = await runWithin(run, { signal, timeout, late }, abandoned)
      this.#keep(value)
      return value
    } catch (error) {
      const again = retry !== false && !this.#built && !isFatal(error)
      const wait = again ? Math.round(backoff(this.#progress.failures + 1, retry)) : undefined
      if (!this.#life.aborted) this.#progress.missed(error, wait)
      throw error
    }
  }

  async #backOff(signal: AbortSignal): Promise<void> {
    const { nextAttempt } = this.#progress
    if (nextAttempt === undefined) return
    await pause(Math.max(0, nextAttempt - Date.now()), undefined, { signal })
  }

  #keep(value: unknown): void {
    const previous = this.#built
    this.#progress.done()
    if (previous && Object.is(previous.value, value)) return
    this.#built = { value }
    // Not before the flight has landed: until then it is handed out.
    if (previous) setImmediate(() => void this.#disposeOf(previous.value))
  }

  async #disposeOf(value: unknown): Promise<void> {
    const { dispose } = this.#settings
    if (!dispose) return
    const late = () => new WarmupTimeoutError(`dispose() of ${this.name}`, DISPOSAL_LIMIT)
    try {
      await within((async () => dispose(value as never))(), { timeout: DISPOSAL_LIMIT, late })
    } catch (error) {
      this.#progress.notDisposed(error)
    }
  }
}

/** Whole seconds for a Retry-After header, at least one. */
export function retryAfter(estimate: number): string {
  return String(Math.max(1, Math.ceil(estimate / 1_000)))
}
