import type { Enrolment, EnrolmentState } from './enrolment.ts'
import type {
  OrchestratorReport,
  Registration,
  RegistrationChange,
  RegistrationListener
} from './index.ts'

/** From best to worst. */
const RANKS = ['left', 'registered', 'waiting', 'registering', 'lost', 'rejected'] as const

/** The registrations of one app, seen as one. */
export class ServiceRegistration implements Registration {
  readonly #enrolments: Enrolment[] = []
  readonly #listeners = new Set<RegistrationListener>()
  readonly #onListenerError: (error: unknown) => void

  constructor(onListenerError: (error: unknown) => void) {
    this.#onListenerError = onListenerError
  }

  add(enrolment: Enrolment): void {
    this.#enrolments.push(enrolment)
  }

  get state(): EnrolmentState | 'off' {
    return this.#worst?.state ?? 'off'
  }

  get info(): Record<string, unknown> | undefined {
    return this.#worst?.announced?.info
  }

  get lastPing(): Date | undefined {
    return this.#worst?.lastPing
  }

  get failures(): number {
    return this.#worst?.failures ?? 0
  }

  get nextAttempt(): Date | undefined {
    return this.#worst?.nextAttempt
  }

  get orchestrators(): OrchestratorReport[] {
    return this.#enrolments.map(
      ({ orchestrator, state, failures, lastPing, nextAttempt, error }) => ({
        orchestrator,
        state,
        failures,
        ...(lastPing && { lastPing: lastPing.toISOString() }),
        ...(nextAttempt && { nextAttempt: nextAttempt.toISOString() }),
        ...(error && { error: error.message })
      })
    )
  }

  on(_event: 'change', listener: RegistrationListener): this {
    this.#listeners.add(listener)
    return this
  }

  off(_event: 'change', listener: RegistrationListener): this {
    this.#listeners.delete(listener)
    return this
  }

  tell(change: RegistrationChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change)
      } catch (error) {
        this.#onListenerError(error)
      }
    }
  }

  get #worst(): Enrolment | undefined {
    const rank = ({ state }: Enrolment): number => RANKS.indexOf(state)
    return this.#enrolments.toSorted((a, b) => rank(b) - rank(a))[0]
  }
}
