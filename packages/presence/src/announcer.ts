import { EventEmitter } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import type { LeaseKey, LeaseRecord, LeaseStore } from '@muster/leases'

/**
 * `joining`: not announced yet. `present`: the last beat went through. `lost`: it did not, the next one will try again.
 * `fenced`: another start of this instance holds the id; terminal. `left`: withdrawn; terminal.
 */
export type PresenceState = 'joining' | 'present' | 'lost' | 'fenced' | 'left'

/** ms over which instances spread their first beat after their registry is back. */
const RECONNECT_SPREAD = 500
const LEAVE_RETRY = 100

export interface AnnouncerOptions {
  store: LeaseStore
  key: LeaseKey
  /** ms between beats; each is up to 10 % sooner or later. */
  heartbeat: number
  /** What to announce now. */
  record: () => LeaseRecord
  /** Called after each beat that went through; not awaited by the next. */
  onBeat?: (() => Promise<void>) | undefined
  onError: (error: unknown) => void
}

type Events = { [State in PresenceState]: [] }

/** Keeps the lease of this instance alive: one loop, one operation in flight. */
export class Announcer extends EventEmitter<Events> {
  state: PresenceState = 'joining'
  readonly #options: AnnouncerOptions
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<void> | undefined
  #again = false
  #ended = false
  /** Whether the id was taken once; whoever holds it after that is a successor. */
  #claimed = false
  #announced: string | undefined
  #stopListening: (() => void) | undefined
  #leaving: Promise<void> | undefined

  constructor(options: AnnouncerOptions) {
    super()
    this.#options = options
  }

  /** Begins to announce, unless it was ended before. */
  start(): void {
    if (this.#ended || this.#stopListening) return
    this.#stopListening = this.#options.store.onReconnect(() => {
      this.#beatIn(Math.random() * RECONNECT_SPREAD)
    })
    void this.announce()
  }

  /** Beats now; resolves when what is to be announced now was tried to be stored. Never rejects. */
  announce(): Promise<void> {
    if (this.#ended || !this.#stopListening) return Promise.resolve()
    if (this.#turn) this.#again = true
    clearTimeout(this.#timer)
    this.#turn ??= this.#beatUntilSaid()
    return this.#turn
  }

  /**
   * Takes the announcement back: no beat starts any more, one in flight is awaited, then the lease is removed if it
   * is still this incarnation's. Never rejects.
   * @param timeout ms for all of it
   */
  leave(timeout: number): Promise<void> {
    this.#leaving ??= this.#leave(timeout)
    return this.#leaving
  }

  async #leave(timeout: number): Promise<void> {
    this.#ended = true
    const started = this.#stopListening !== undefined
    this.#stopListening?.()
    clearTimeout(this.#timer)
    const until = performance.now() + timeout
    if (started)
      await Promise.race([this.#withdraw(until), pause(timeout, undefined, { ref: false })])
    if (this.state !== 'fenced') this.#become('left')
  }

  async #withdraw(until: number): Promise<void> {
    await this.#turn
    const { store, key, onError } = this.#options
    while (this.state !== 'fenced') {
      try {
        await store.remove(key)
        return
      } catch (error) {
        // Where the last beat went through this may be a moment's failure: worth another attempt.
        if (this.state !== 'present' || performance.now() + LEAVE_RETRY > until)
          return onError(error)
        await pause(LEAVE_RETRY)
      }
    }
  }

  #beatIn(delay: number): void {
    if (this.#ended || this.#turn) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.announce(), delay)
  }

  async #beatUntilSaid(): Promise<void> {
    do {
      this.#again = false
      await this.#beat()
    } while (this.#again && !this.#ended && this.state !== 'lost')
    this.#turn = undefined
    this.#beatIn(this.#options.heartbeat * (0.9 + Math.random() * 0.2))
  }

  async #beat(): Promise<void> {
    try {
      const record = this.#options.record()
      if ((await this.#store(record)) === 'fenced') return this.#fence()
      this.#become('present')
      void this.#options.onBeat?.().catch(this.#options.onError)
    } catch (error) {
      this.#options.onError(error)
      this.#become('lost')
    }
  }

  async #store(record: LeaseRecord): Promise<'stored' | 'fenced'> {
    const { store, key } = this.#options
    const json = JSON.stringify(record)
    if (this.#announced === json) {
      const renewed = await store.renew(key)
      if (renewed !== 'gone') return renewed === 'fenced' ? 'fenced' : 'stored'
    }
    this.#announced = undefined
    const result = await store.put(key, record, { claim: !this.#claimed })
    if (result === 'fenced') return 'fenced'
    this.#claimed = true
    this.#announced = json
    return 'stored'
  }

  #fence(): void {
    this.#ended = true
    this.#stopListening?.()
    this.#become('fenced')
  }

  #become(state: PresenceState): void {
    if (this.state === state) return
    this.state = state
    try {
      this.emit(state)
    } catch (error) {
      this.#options.onError(error)
    }
  }
}
