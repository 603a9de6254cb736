import { messageOf, redacted } from './redacted.ts'

export type Gate = 'listen' | 'ready' | false

export interface TaskReport {
  /** `waiting`: for what it comes after, or for its next attempt. */
  status: 'idle' | 'waiting' | 'running' | 'done' | 'failed'
  gate: Gate
  /** Runs so far, those of refreshes included. */
  attempts: number
  /** ms from its start until it was done, or until now. */
  elapsed: number
  /** ISO 8601 */
  nextAttempt?: string
  /** Why the last run failed, a refresh included. */
  error?: string
  /** A new value is on its way, while the present one serves. */
  refreshing?: true
}

/** The log of an app, as far as it is used here. */
export interface Logger {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** How far a task is: told in its report and, once for each kind of failure, in the log. */
export class TaskProgress {
  readonly #name: string
  readonly #gate: Gate
  readonly #log: Logger
  #status: TaskReport['status'] = 'idle'
  #attempts = 0
  #failures = 0
  #started: number | undefined
  #took: number | undefined
  #error: string | undefined
  #refreshing = false
  /** ms since the epoch */
  nextAttempt: number | undefined

  constructor(name: string, gate: Gate, log: Logger) {
    this.#name = name
    this.#gate = gate
    this.#log = log
  }

  get succeeded(): boolean {
    return this.#status === 'done'
  }

  /** In a row. */
  get failures(): number {
    return this.#failures
  }

  /** ms */
  get elapsed(): number {
    if (this.#took !== undefined) return this.#took
    return this.#started === undefined ? 0 : Math.round(performance.now() - this.#started)
  }

  get report(): TaskReport {
    const { nextAttempt } = this
    return {
      status: this.#status,
      gate: this.#gate,
      attempts: this.#attempts,
      elapsed: this.elapsed,
      ...(nextAttempt !== undefined && { nextAttempt: new Date(nextAttempt).toISOString() }),
      ...(this.#error !== undefined && { error: this.#error }),
      ...(this.#refreshing && { refreshing: true as const })
    }
  }

  waiting(): void {
    this.#started ??= performance.now()
    if (this.#status !== 'done') this.#status = 'waiting'
  }

  running(): void {
    this.nextAttempt = undefined
    this.#attempts += 1
    if (this.#status === 'done') this.#refreshing = true
    else this.#status = 'running'
  }

  done(): void {
    const failures = this.#failures
    this.#took ??= this.elapsed
    this.#status = 'done'
    this.#refreshing = false
    this.#failures = 0
    this.#error = undefined
    if (failures > 0)
      this.#log.info(this.#details, this.#text(`succeeded after ${failures} failures`))
  }

  /** @param wait ms until the next attempt, where there is one */
  missed(error: unknown, wait: number | undefined): void {
    const message = messageOf(error)
    const known = message === this.#error
    this.#failures += 1
    this.#error = message
    if (this.#status !== 'done') this.#status = 'waiting'
    if (wait !== undefined) this.nextAttempt = Date.now() + wait
    const what = this.#refreshing ? 'could not be refreshed' : `failed, next attempt in ${wait} ms`
    const tell = !known && (this.#refreshing || wait !== undefined)
    this.#refreshing = false
    if (tell) {
      const details = { err: redacted(error), ...this.#details }
      this.#log.warn(details, this.#text(`${what}: ${message}`))
    }
  }

  /** For good. */
  failed(error: unknown): void {
    this.stopped(error)
    const message = this.#text(`failed for good: ${messageOf(error)}`)
    this.#log.error({ err: redacted(error), ...this.#details }, message)
  }

  /** Failed for good, for a reason that others have logged. */
  stopped(error: unknown): void {
    this.#status = 'failed'
    this.#error = messageOf(error)
    this.nextAttempt = undefined
  }

  notDisposed(error: unknown): void {
    const message = this.#text(`could not be disposed of: ${messageOf(error)}`)
    this.#log.warn({ err: redacted(error) }, message)
  }

  get #details(): object {
    return { task: this.#name, attempts: this.#attempts, elapsed: this.elapsed }
  }

  #text(what: string): string {
    return `warm-up of ${this.#name} ${what}`
  }
}
