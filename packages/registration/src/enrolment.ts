import { setTimeout as pause } from 'node:timers/promises'
import { backoff, jittered } from './backoff.ts'
import { bare } from './http-call.ts'
import { type ClientOptions, OrchestratorClient, type Outcome } from './orchestrator-client.ts'
import { memberUrl, readTicket, type Ticket } from './ticket.ts'

/**
 * `waiting` to be ready · `registering`: never registered so far · `registered` · `lost`: was registered, coming back ·
 * `rejected`: refused for a reason that somebody has to remove · `left`.
 */
export type EnrolmentState = 'waiting' | 'registering' | 'registered' | 'lost' | 'rejected' | 'left'

/** What is sent to register. */
export interface Announcement {
  id: string
  url: string
  info: Record<string, unknown>
  instance_id: string
  incarnation: string
}

export interface EnrolmentOptions extends ClientOptions {
  /** Where to register. */
  url: URL
  /** Made anew for each registration. */
  announce: () => Announcement
  /** ms for a registration. */
  timeout: number
  retry: { min: number; max: number }
  ping: { url?: URL | undefined; interval?: number | undefined; timeout?: number | undefined }
  deregister: boolean
}

export interface EnrolmentLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
}

/** How long leaving waits for a request in flight, so as to know what to take back. */
const IN_FLIGHT_GRACE = 1_500
const LEAVE_ATTEMPTS = 3

/** The life of one registration with one orchestrator. */
export class Enrolment {
  state: EnrolmentState = 'waiting'
  /** What was announced last. */
  announced: Announcement | undefined
  /** When it succeeded first. */
  registeredAt: Date | undefined
  lastPing: Date | undefined
  nextAttempt: Date | undefined
  /** Attempts in a row without success. */
  failures = 0
  /** Why the last attempt failed; gone with the next success. */
  error: Error | undefined
  readonly #options: EnrolmentOptions
  readonly #log: EnrolmentLog
  readonly #onChange: (state: EnrolmentState, previous: EnrolmentState) => void
  readonly #client: OrchestratorClient
  readonly #where: { orchestrator: string }
  /** Ends sleeps: nothing new is begun. */
  readonly #leaving = new AbortController()
  /** Ends requests as well. */
  readonly #cut = new AbortController()
  #ticket: Ticket | undefined
  #life: Promise<void> | undefined
  #left: Promise<void> | undefined
  #aliveAt = 0
  /** There may be an entry of ours over there. */
  #perhapsThere = false
  /** What the log has been told since the last ping that went well. */
  readonly #told = new Set<string>()

  constructor(
    options: EnrolmentOptions,
    log: EnrolmentLog,
    onChange: (state: EnrolmentState, previous: EnrolmentState) => void
  ) {
    this.#options = options
    this.#log = log
    this.#onChange = onChange
    this.#client = new OrchestratorClient(options)
    this.#where = { orchestrator: bare(options.url) }
  }

  get orchestrator(): string {
    return this.#where.orchestrator
  }

  /** Registers and stays registered until `leave()`. */
  start(): void {
    if (this.#leaving.signal.aborted) return
    this.#life ??= this.#live()
  }

  /** Stops, learns how the request in flight ends, then deletes what is over there. Never rejects. */
  leave(limit: AbortSignal): Promise<void> {
    this.#left ??= this.#leave(limit)
    return this.#left
  }

  async #live(): Promise<void> {
    const { signal } = this.#leaving
    while (!signal.aborted) {
      const delay = this.#ticket ? await this.#ping(this.#ticket) : await this.#register()
      if (signal.aborted) return
      this.nextAttempt = new Date(Date.now() + delay)
      await pause(delay, undefined, { signal }).catch(() => {})
    }
  }

  /** @returns ms until the next step is due, as `#ping` does */
  async #register(): Promise<number> {
    const { url, announce, timeout } = this.#options
    if (this.state === 'waiting') this.#become('registering')
    try {
      this.announced = announce()
    } catch (error) {
      return this.#failed({ result: 'rejected', error: error as Error, wait: 0 })
    }
    const body = JSON.stringify(this.announced)
    const { signal } = this.#cut
    const outcome = await this.#client.send({ method: 'POST', url, body, timeout, signal })
    this.#perhapsThere ||= outcome.mayHaveArrived
    if (outcome.result !== 'ok') return this.#failed(outcome)

    this.#ticket = readTicket(url, outcome.body, this.announced.id)
    this.registeredAt ??= new Date()
    this.#told.delete('failed')
    this.#told.delete('rejected')
    if (this.#isNews('registered')) {
      this.#log.info({ ...this.#where, id: this.#ticket.id }, 'registered')
    }
    this.#succeeded()
    return jittered(this.#pingInterval(this.#ticket))
  }

  async #ping(ticket: Ticket): Promise<number> {
    const interval = this.#pingInterval(ticket)
    const url = this.#options.ping.url ?? ticket.pingUrl
    const timeout = Math.min(this.#options.ping.timeout ?? this.#options.timeout, interval * 0.8)
    const { signal } = this.#cut
    const outcome = await this.#client.send({ method: 'PUT', url, timeout, signal })
    if (outcome.result === 'unknown') return this.#forgotten()
    if (outcome.result !== 'ok') return this.#failed(outcome)
    this.lastPing = new Date()
    if (this.#told.has('failed') || this.#told.has('rejected')) {
      this.#log.info(this.#where, 'the orchestrator answers again')
    }
    // Only here: a registration that is gone at the next ping has ended no streak.
    this.#told.clear()
    this.#succeeded()
    return jittered(interval)
  }

  #pingInterval({ ttl }: Ticket): number {
    return this.#options.ping.interval ?? ttl / 3
  }

  #succeeded(): void {
    this.failures = 0
    this.error = undefined
    this.#aliveAt = performance.now()
    this.#become('registered')
  }

  /** Many may have been forgotten together: at once, but not all in the same moment. */
  #forgotten(): number {
    this.#ticket = undefined
    this.#perhapsThere = false
    if (this.#isNews('forgotten')) {
      this.#log.warn(this.#where, 'the orchestrator does not know us any more; registering again')
    }
    this.#become('lost')
    return Math.random() * this.#options.retry.min
  }

  #failed({ result, error, wait }: Pick<Outcome, 'result' | 'error' | 'wait'>): number {
    const { min, max } = this.#options.retry
    const kind = result === 'rejected' || result === 'fenced' ? 'rejected' : 'failed'
    this.failures += 1
    this.error = error
    if (error && !this.#cut.signal.aborted && this.#isNews(kind)) {
      this.#log.warn({ ...this.#where, err: error }, `${error.message}; trying again`)
    }
    if (kind === 'rejected') {
      this.#become('rejected')
      return jittered(max)
    }
    if (!this.#ticket) {
      if (this.state === 'rejected') this.#become(this.registeredAt ? 'lost' : 'registering')
      return Math.max(wait, backoff(this.failures, { min, max }))
    }
    const { ttl } = this.#ticket
    const expired = performance.now() - this.#aliveAt > ttl
    if (expired) this.#become('lost')
    const cap = expired ? max : this.#pingInterval(this.#ticket)
    return Math.max(wait, backoff(this.failures, { min, max: cap }))
  }

  /** Whether the log has not been told yet in this streak. */
  #isNews(what: string): boolean {
    if (this.#told.has(what)) return false
    this.#told.add(what)
    return true
  }

  #become(state: EnrolmentState): void {
    const previous = this.state
    if (state === previous) return
    this.state = state
    this.#onChange(state, previous)
  }

  async #leave(limit: AbortSignal): Promise<void> {
    this.#leaving.abort()
    this.nextAttempt = undefined
    if (this.#life) {
      const stop = (): void => this.#cut.abort()
      const timer = setTimeout(stop, IN_FLIGHT_GRACE)
      limit.addEventListener('abort', stop)
      await this.#life
      clearTimeout(timer)
      limit.removeEventListener('abort', stop)
    }
    if (this.#options.deregister && this.#perhapsThere) await this.#deregister(limit)
    this.#become('left')
  }

  /** By the answered id; where there was no answer, a late registration may arrive after the first try. */
  async #deregister(limit: AbortSignal): Promise<void> {
    const { url: registerUrl, timeout, retry } = this.#options
    const url = memberUrl(registerUrl, this.#ticket?.id ?? this.announced?.id ?? '')
    let why: string | undefined
    for (let attempt = 1; attempt <= LEAVE_ATTEMPTS && !limit.aborted; attempt++) {
      const { result, error } = await this.#client.send({
        method: 'DELETE',
        url,
        timeout,
        signal: limit
      })
      if (result === 'ok') return this.#log.info(this.#where, 'deregistered')
      // What the answer named is gone, or another one's by now.
      if (this.#ticket && (result === 'unknown' || result === 'fenced')) return
      why = error?.message
      await pause(Math.min(retry.min, 250), undefined, { signal: limit }).catch(() => {})
    }
    this.#log.warn(this.#where, `perhaps not deregistered: ${why}; what is left expires by itself`)
  }
}
