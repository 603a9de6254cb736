import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { CheckFailedError, CheckTimeoutError } from './errors.ts'
import { redact } from './redact.ts'

/** Resolves to nothing, or to anything truthy that is no Error, when what it looks at is fine. */
export type CheckFunction = (context: { signal: AbortSignal }) => unknown

export interface CheckOptions {
  check: CheckFunction
  /** ms between the end of one run and the next. While it does not pass, runs come sooner. @default 5000 */
  interval?: number | undefined
  /** ms after which a run counts as failed and its signal is aborted. @default 1000 */
  timeout?: number | undefined
  /** Failed runs in a row after which a passing check fails. One success passes again. @default 3 */
  failures?: number | undefined
  /** `false`: shown in the report as degraded, without making the service unready. @default true */
  critical?: boolean | undefined
}

export type CompleteCheckOptions = {
  [K in keyof CheckOptions]-?: Exclude<CheckOptions[K], undefined>
}

export interface CheckReport {
  status: 'pending' | 'passing' | 'failing'
  critical: boolean
  /** Failed runs in a row. */
  failures: number
  /** ISO 8601 time of the last run's end. */
  lastRun?: string
  /** ms the last run took. */
  duration?: number
  error?: string
}

const FIRST_RETRY = 100

/** Runs one check in the background, never two runs at a time, and tells when its verdict changes. */
export class BackgroundCheck {
  readonly #options: CompleteCheckOptions
  readonly #onChange: (check: BackgroundCheck) => void
  /** The last run, while it has not settled: a run may outlive its timeout. */
  #running: Promise<void> | undefined
  readonly report: CheckReport

  constructor(options: CompleteCheckOptions, onChange: (check: BackgroundCheck) => void) {
    this.#options = options
    this.#onChange = onChange
    this.report = { status: 'pending', critical: options.critical, failures: 0 }
  }

  /** Runs until `signal` is aborted. Never rejects. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const start = performance.now()
      const error = await this.#run(signal).then(
        () => undefined,
        (error: unknown) => error ?? new CheckFailedError('it threw nothing')
      )
      if (signal.aborted) return
      this.report.lastRun = new Date().toISOString()
      this.report.duration = Math.round(performance.now() - start)
      this.#judge(error)
      await pause(this.#delay(), undefined, { signal }).catch(() => {})
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { check, timeout } = this.#options
    if (this.#running) throw new CheckTimeoutError('the previous run has not ended')
    const run = new AbortController()
    const stop = (): void => run.abort(signal.reason)
    const expire = (): void => run.abort(new CheckTimeoutError(`timeout after ${timeout} ms`))
    const timer = setTimeout(expire, timeout)
    signal.addEventListener('abort', stop)
    const ended = new Promise<never>((_, reject) =>
      run.signal.addEventListener('abort', () => reject(run.signal.reason))
    )
    const work = (async () => check({ signal: run.signal }))().then(assertSuccess)
    this.#running = work.finally(() => (this.#running = undefined))
    this.#running.catch(() => {})
    try {
      await Promise.race([work, ended])
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    }
  }

  #judge(error: unknown): void {
    const { report } = this
    const before = report.status
    if (error === undefined) {
      report.status = 'passing'
      report.failures = 0
      delete report.error
    } else {
      report.failures += 1
      report.error = redact(error instanceof Error ? error.message : inspect(error))
      if (before !== 'passing' || report.failures >= this.#options.failures)
        report.status = 'failing'
    }
    if (report.status !== before) this.#onChange(this)
  }

  #delay(): number {
    const { interval } = this.#options
    if (this.report.status === 'passing') return interval
    return Math.min(interval, FIRST_RETRY * 2 ** Math.min(this.report.failures - 1, 20))
  }
}

/** What neither says yes nor nothing at all is a no. */
function assertSuccess(result: unknown): void {
  if (result instanceof Error) throw result
  if (result !== undefined && !result) throw new CheckFailedError(`it answered ${inspect(result)}`)
}
