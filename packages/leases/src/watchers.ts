import type { LeaseEntry, LeaseEvent } from './lease-store.ts'

const LONGEST_QUEUE = 10_000

export type LeaseChange = Exclude<LeaseEvent, { type: 'snapshot' }>
type Current = (service: string | undefined) => LeaseEntry[] | undefined

/** Hands changes to whoever watches; who has seen nothing yet, or fell behind, gets all that is there. */
export class Watchers {
  readonly #channels = new Set<Channel>()
  readonly #current: Current
  readonly #onFirst: () => void
  readonly #onLast: () => void

  /**
   * @param current what is there now, undefined as long as that is not known
   * @param onFirst somebody watches
   * @param onLast nobody watches any more
   */
  constructor(current: Current, onFirst: () => void, onLast: () => void) {
    this.#current = current
    this.#onFirst = onFirst
    this.#onLast = onLast
  }

  get size(): number {
    return this.#channels.size
  }

  emit(change: LeaseChange): void {
    for (const channel of this.#channels) channel.push(change)
  }

  /** What is there is known now. */
  wake(): void {
    for (const channel of this.#channels) channel.wake()
  }

  end(): void {
    for (const channel of this.#channels) channel.end()
  }

  async *watch(service?: string, signal?: AbortSignal): AsyncGenerator<LeaseEvent> {
    if (signal?.aborted) return
    const channel = new Channel(service, this.#current)
    const end = (): void => channel.end()
    signal?.addEventListener('abort', end)
    if (this.#channels.add(channel).size === 1) this.#onFirst()
    try {
      while (!channel.ended) {
        const event = channel.shift()
        if (event) yield event
        else await channel.change
      }
    } finally {
      signal?.removeEventListener('abort', end)
      this.#channels.delete(channel)
      if (this.#channels.size === 0) this.#onLast()
    }
  }
}

class Channel {
  ended = false
  change: Promise<void>
  #wake!: () => void
  #behind = true
  #queue: LeaseChange[] = []
  readonly #service: string | undefined
  readonly #current: Current

  constructor(service: string | undefined, current: Current) {
    this.#service = service
    this.#current = current
    this.change = this.#nextChange()
  }

  push(change: LeaseChange): void {
    // What comes before the snapshot is in the snapshot.
    if (this.#behind || (this.#service !== undefined && change.lease.service !== this.#service))
      return
    if (this.#queue.push(change) > LONGEST_QUEUE) {
      this.#behind = true
      this.#queue = []
    }
    this.wake()
  }

  shift(): LeaseEvent | undefined {
    if (!this.#behind) return this.#queue.shift()
    const leases = this.#current(this.#service)
    if (!leases) return undefined
    this.#behind = false
    return { type: 'snapshot', leases }
  }

  wake(): void {
    this.#wake()
    this.change = this.#nextChange()
  }

  end(): void {
    this.ended = true
    this.wake()
  }

  #nextChange(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve))
  }
}
