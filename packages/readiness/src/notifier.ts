import type { Identity } from './identity.ts'
import type { ReadinessState, StateChange, StateMachine } from './state-machine.ts'

/** A log, as far as it is used here. */
export interface Logger {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** What a notifier sees of the service. */
export interface NotifiedService {
  readonly identity: Identity
  readonly log: Logger
  readonly state: ReadinessState
  /** What keeps it from being ready, with the reason. */
  readonly waitingFor: Record<string, string>
  /** Gives up for good. */
  readonly fail: (cause: string) => void
  /** Ends the service as a signal would. */
  readonly shutDown: (reason: string) => void
}

export function notifiedService(
  machine: StateMachine,
  rest: Omit<NotifiedService, 'state' | 'waitingFor'>
): NotifiedService {
  return {
    ...rest,
    get state() {
      return machine.state
    },
    get waitingFor() {
      return machine.waitingFor
    }
  }
}

/** Tells a supervisor how the service is. */
export interface Notifier {
  readonly name: string
  /** Whether there is anybody to tell; if not, the notifier is left out. Asked when the service listens. */
  present(): boolean
  /** Called when the service listens. What it throws makes the service `failed`. */
  start(service: NotifiedService): NotifierSession
}

export interface NotifierSession {
  /** Called at each change, ahead of all other listeners. What it throws or rejects with is logged, once per streak. */
  change(change: StateChange): unknown
  /** Called when the service has closed. */
  close?(): void
}

interface Running {
  name: string
  session: NotifierSession
  failing: boolean
}

/** Runs the notifiers of a service, and knows what is still on its way. */
export class Notifications {
  readonly #log: Logger
  readonly #running: Running[] = []
  readonly #pending = new Set<Promise<void>>()

  constructor(log: Logger) {
    this.#log = log
  }

  start(notifiers: Notifier[], service: NotifiedService): void {
    for (const notifier of notifiers) {
      try {
        if (!notifier.present()) continue
        const session = notifier.start(service)
        this.#running.push({ name: notifier.name, session, failing: false })
      } catch (error) {
        return service.fail((error as Error).message)
      }
    }
  }

  tell(change: StateChange): void {
    for (const running of this.#running) {
      const told = (async () => running.session.change(change))().then(
        () => this.#passed(running),
        (err: unknown) => this.#failed(running, err)
      )
      this.#pending.add(told)
      void told.finally(() => this.#pending.delete(told))
    }
  }

  /** Resolves when everything that was told has left. */
  async settled(): Promise<void> {
    await Promise.all(this.#pending)
  }

  close(): void {
    for (const { session } of this.#running.splice(0)) session.close?.()
  }

  #passed(running: Running): void {
    if (running.failing) this.#log.info({}, `${running.name} is notified again`)
    running.failing = false
  }

  #failed(running: Running, err: unknown): void {
    if (!running.failing) this.#log.warn({ err }, `${running.name} could not be notified`)
    running.failing = true
  }
}
