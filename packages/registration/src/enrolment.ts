import { setTimeout as pause } from 'node:timers/promises'
import { backoff, jittered, retryAfter } from './backoff.ts'
import { OrchestratorRefusedError } from './errors.ts'
import { type Answer, bare, call, type Call } from './http-call.ts'
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

export interface EnrolmentOptions {
  /** Where to register; without user and password. */
  url: URL
  /** Sent with every request. */
  headers: Record<string, string>
  /** Made anew for each registration. */
  announce: () => Announcement
  /** ms for a registration. */
  timeout: number
  retry: { min: number; max: number }
  ping: { url?: URL | undefined; interval?: number | undefined; timeout?: number | undefined }
  deregister: boolean
  ca?: string | Buffer | undefined
  /** Never shown, even where the orchestrator echoes them. */
  secrets: string[]
}

export interface EnrolmentLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
}

/** How long leaving waits for a request in flight, so as to know what to take back. */
const IN_FLIGHT_GRACE = 1_500
const LEAVE_ATTEMPTS = 3
/** Statuses that no retry will change before somebody has changed the configuration. */
const REFUSALS = new Set([301, 302, 307, 308, 400, 401, 403, 405, 409, 413, 415, 422])

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
      return this.#failed(error as Error, 'rejected')
    }
    const answer = await this.#call({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(this.announced),
      timeout
    })
    this.#perhapsThere ||= mayHaveArrived(answer)
    if (answer instanceof Error) return this.#failed(answer)
    if (!isSuccess(answer)) return this.#refused('POST', url, answer)

    this.#ticket = readTicket(url, answer, this.announced.id)
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
    const answer = await this.#call({ method: 'PUT', url, timeout })
    if (answer instanceof Error) return this.#failed(answer)
    if (isUnknown(answer)) return this.#forgotten(answer)
    if (!isSuccess(answer)) return this.#refused('PUT', url, answer)
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
  #forgotten({ status }: Answer): number {
    this.#ticket = undefined
    this.#perhapsThere = false
    if (this.#isNews('forgotten')) {
      this.#log.warn(
        this.#where,
        `the orchestrator does not know us any more (${status}); registering again`
      )
    }
    this.#become('lost')
    return Math.random() * this.#options.retry.min
  }

  #refused(method: string, url: URL, answer: Answer): number {
    const { status, headers, body } = answer
    const where = headers.location === undefined ? '' : ` to ${headers.location}`
    const said = body.trim() === '' ? '' : `: ${body.trim().slice(0, 2_000)}`
    const text = `${method} ${bare(url)} answered ${status}${where}${said}`
    const error = new OrchestratorRefusedError(
      this.#options.secrets.reduce((shown, secret) => shown.replaceAll(secret, '***'), text)
    )
    if (REFUSALS.has(status)) return this.#failed(error, 'rejected')
    return Math.max(this.#failed(error), retryAfter(headers['retry-after']))
  }

  #failed(error: Error, kind: 'failed' | 'rejected' = 'failed'): number {
    const { min, max } = this.#options.retry
    this.failures += 1
    this.error = error
    if (!this.#cut.signal.aborted && this.#isNews(kind)) {
      this.#log.warn({ ...this.#where, err: error }, `${error.message}; trying again`)
    }
    if (kind === 'rejected') {
      this.#become('rejected')
      return jittered(max)
    }
    if (!this.#ticket) {
      if (this.state === 'rejected') this.#become(this.registeredAt ? 'lost' : 'registering')
      return backoff(this.failures, { min, max })
    }
    const { ttl } = this.#ticket
    const expired = performance.now() - this.#aliveAt > ttl
    if (expired) this.#become('lost')
    return backoff(this.failures, { min, max: expired ? max : this.#pingInterval(this.#ticket) })
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
    let outcome: Answer | Error | undefined
    for (let attempt = 1; attempt <= LEAVE_ATTEMPTS && !limit.aborted; attempt++) {
      outcome = await this.#call({ method: 'DELETE', url, timeout }, limit)
      if (!(outcome instanceof Error)) {
        if (isSuccess(outcome)) return this.#log.info(this.#where, 'deregistered')
        if (this.#ticket && (isUnknown(outcome) || outcome.status === 409)) return
      }
      await pause(Math.min(retry.min, 250), undefined, { signal: limit }).catch(() => {})
    }
    const why = outcome instanceof Error ? outcome.message : `DELETE answered ${outcome?.status}`
    this.#log.warn(this.#where, `perhaps not deregistered: ${why}; what is left expires by itself`)
  }

  async #call(
    request: Omit<Call, 'headers' | 'signal' | 'ca'> & Partial<Call>,
    signal = this.#cut.signal
  ): Promise<Answer | Error> {
    const { headers, ca } = this.#options
    return call({ ca, signal, ...request, headers: { ...headers, ...request.headers } }).catch(
      (error: Error) => error
    )
  }
}

function isSuccess({ status }: Answer): boolean {
  return status >= 200 && status < 300
}

function isUnknown({ status }: Answer): boolean {
  return status === 404 || status === 410
}

/** A 5xx may come from something between us, or from after the entry was made. */
function mayHaveArrived(answer: Answer | Error): boolean {
  if (!(answer instanceof Error)) return isSuccess(answer) || answer.status >= 500
  const { code } = (answer.cause ?? {}) as { code?: unknown }
  return code !== 'ECONNREFUSED' && code !== 'ENOTFOUND' && code !== 'EAI_AGAIN'
}
