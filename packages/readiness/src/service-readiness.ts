import { OptionError } from '@muster/options'
import { BackgroundCheck, type CheckReport, type CompleteCheckOptions } from './check.ts'
import { WithdrawTimeoutError } from './errors.ts'
import type { Readiness } from './index.ts'
import type { Identity } from './identity.ts'
import type { readOptions } from './options.ts'
import type { Logger } from './notifier.ts'
import { redact } from './redact.ts'
import { type ChangeListener, type ReadinessState, StateMachine } from './state-machine.ts'
import { Timeline, type TimelineEntry } from './timeline.ts'

/** Keeps the service from being ready until released. */
export interface Hold extends Disposable {
  readonly name: string
  readonly release: () => void
}

export interface ReadinessReport extends Identity {
  state: ReadinessState
  /** Why it is in this state. */
  cause: string
  /** Since when, ISO 8601. */
  since: string
  /** What keeps it from being ready, with the reason. */
  waitingFor: Record<string, string>
  checks: Record<string, CheckReport>
  /** What other plugins say of themselves: see `describe()`. */
  parts: Record<string, unknown>
  /** What start-up consisted of, until the service was ready for the first time. */
  timeline: TimelineEntry[]
}

type Withdrawal = (signal: AbortSignal) => unknown

const SELF_PROBE = 'self-probe'
const DECLARATION = 'declaration'

/** The readiness of one app: what blocks it, who is told, and in which order it is withdrawn. */
export class ServiceReadiness implements Readiness {
  readonly identity: Identity
  readonly machine: StateMachine
  /** Aborted when draining begins: nothing new is started or announced afterwards. */
  readonly life = new AbortController()
  readonly timeline = new Timeline()
  readonly #options: ReturnType<typeof readOptions>
  readonly #log: Logger
  readonly #holds = new Set<string>()
  readonly #checks: Record<string, BackgroundCheck>
  readonly #parts = new Map<string, () => unknown>()
  readonly #withdrawals = new Map<string, Withdrawal>()
  #withdrawn: Promise<void> | undefined

  constructor(identity: Identity, options: ReturnType<typeof readOptions>, log: Logger) {
    this.identity = identity
    this.#options = options
    this.#log = log
    this.machine = new StateMachine((err) => log.error({ err }, 'a readiness listener failed'))
    this.machine.block(SELF_PROBE, 'not listening yet')
    if (options.probe === false) this.machine.block(DECLARATION, 'declare() was not called yet')
    this.#checks = Object.fromEntries(
      Object.entries(options.checks).map(([name, check]) => [name, this.#createCheck(name, check)])
    )
  }

  get state(): ReadinessState {
    return this.machine.state
  }

  get cause(): string {
    return this.machine.cause
  }

  on(_event: 'change', listener: ChangeListener): this {
    this.machine.on(listener)
    return this
  }

  off(_event: 'change', listener: ChangeListener): this {
    this.machine.off(listener)
    return this
  }

  whenReady({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return this.machine.whenReady(signal)
  }

  hold(name: string): Hold {
    if (typeof name !== 'string' || name === '' || this.#holds.has(name)) {
      throw new OptionError(
        `readiness: hold() takes a name that no other hold has, not ${String(name)}`
      )
    }
    const blocker = `hold ${name}`
    this.#holds.add(name)
    this.machine.block(blocker, 'not released yet')
    const end = this.time(blocker)
    const release = (): void => {
      if (!this.#holds.delete(name)) return
      end()
      this.machine.unblock(blocker, `${blocker} was released`)
    }
    return { name, release, [Symbol.dispose]: release }
  }

  declare(): void {
    if (this.#options.probe !== false) {
      throw new OptionError('readiness: declare() is for those who set "probe" to false')
    }
    this.machine.unblock(DECLARATION, 'declared')
  }

  fail(cause: string): void {
    const missing = Object.entries(this.machine.waitingFor).map(([name, why]) => `${name} (${why})`)
    const waiting = missing.length > 0 ? `: waiting for ${missing.join(', ')}` : ''
    this.life.abort()
    this.machine.fail(redact(cause) + waiting)
    if (this.machine.started) void this.drain()
  }

  time(name: string): () => void {
    return this.timeline.time(name)
  }

  onDrain(name: string, withdraw: Withdrawal): void {
    if (this.#withdrawals.has(name)) {
      throw new OptionError(`readiness: onDrain() has a step "${name}" already`)
    }
    this.#withdrawals.set(name, withdraw)
  }

  describe(name: string, part: () => unknown): void {
    this.#parts.set(name, part)
  }

  drain(cause = 'drain()'): Promise<void> {
    this.#withdrawn ??= this.#withdraw(cause)
    return this.#withdrawn
  }

  /** Adds a check, before `start()`; one of the application's own with this name stays. */
  addCheck(name: string, options: CompleteCheckOptions): void {
    this.#checks[name] ??= this.#createCheck(name, options)
  }

  /** From listening on: checks run, and the time to become ready counts. */
  start(): void {
    const { signal } = this.life
    if (signal.aborted) return
    this.time(SELF_PROBE)
    this.probeFailed('no answer yet')
    for (const [name, check] of Object.entries(this.#checks)) {
      this.time(`check ${name}`)
      void check.watch(signal)
    }
    const { timeout } = this.#options
    const timer = setTimeout(() => this.fail(`not ready within ${timeout} ms`), timeout)
    const settle: ChangeListener = () => {
      clearTimeout(timer)
      this.machine.off(settle)
    }
    this.machine.on(settle)
  }

  probeFailed(why: string): void {
    this.machine.block(SELF_PROBE, redact(why))
  }

  probePassed(): void {
    this.time(SELF_PROBE)()
    this.machine.unblock(SELF_PROBE, 'self-probe passed')
  }

  report(): ReadinessReport {
    const { state, cause, since, waitingFor } = this.machine
    const checks = Object.entries(this.#checks).map(([name, { report }]) => [name, { ...report }])
    return {
      ...this.identity,
      state,
      cause,
      since: new Date(since).toISOString(),
      waitingFor,
      checks: Object.fromEntries(checks),
      parts: Object.fromEntries([...this.#parts].map(([name, part]) => [name, part()])),
      timeline: this.timeline.entries
    }
  }

  #createCheck(name: string, options: CompleteCheckOptions): BackgroundCheck {
    const blocker = `check ${name}`
    if (options.critical) this.machine.block(blocker, 'has not passed yet')
    return new BackgroundCheck(options, ({ report: { status, error = '' } }) => {
      const passing = status === 'passing'
      if (passing) this.#log.info({ check: name }, `check ${name} passes`)
      else this.#log.warn({ check: name }, `check ${name} fails: ${error}`)
      if (passing) this.time(blocker)()
      if (!options.critical) return
      if (passing) this.machine.unblock(blocker, `${blocker} passes`)
      else this.machine.block(blocker, error)
    })
  }

  async #withdraw(cause: string): Promise<void> {
    this.life.abort()
    this.machine.drain(cause)
    const limit = AbortSignal.timeout(this.#options.withdrawTimeout)
    const late = new Promise<never>((_, reject) =>
      limit.addEventListener('abort', () => reject(new WithdrawTimeoutError()))
    )
    late.catch(() => {})
    const steps = [...this.#withdrawals].map(async ([name, withdraw]) => {
      try {
        await Promise.race([withdraw(limit), late])
      } catch (err) {
        this.#log.warn({ err }, `${name} could not be withdrawn`)
      }
    })
    await Promise.all(steps)
  }
}
