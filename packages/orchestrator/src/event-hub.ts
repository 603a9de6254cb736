import { randomBytes } from 'node:crypto'
import type { LeaseEntry, LeaseEvent, LeaseStore } from '@muster/leases'
import { type EntryView, entryView } from './roster.ts'

export type RosterChange = 'joined' | 'changed' | 'left' | 'expired'

export interface RosterEvent {
  type: RosterChange
  /** As it is now, or was last. */
  instance: EntryView
}

const NAMES = {
  join: 'joined',
  replace: 'changed',
  update: 'changed',
  leave: 'left',
  expire: 'expired'
} as const
const KEPT = 1_024
const HEARTBEAT = 15_000
/** Characters of a snapshot that are sent at once. */
const PIECE = 65_536
/** ms between two wake-ups of all streams. */
const PACE = 50

/**
 * Turns the changes of a store into server-sent events. There is one text of each event for all who read, and no queue
 * for anybody: who reads slowly goes on from where they are, and gets a new snapshot if that is no longer kept.
 */
export class EventHub {
  readonly #store: LeaseStore
  readonly #onChange: (event: RosterEvent) => void
  readonly #onFailure: (error: unknown) => void
  readonly #closing = new AbortController()
  /** Tells the events of this process from those of another one. */
  readonly #epoch = randomBytes(4).toString('hex')
  readonly #texts = new Map<string, string>()
  readonly #events: string[] = []
  /** Number of the last event. */
  #seq = 0
  /** Number of the last snapshot of the store: what is older is of no use. */
  #oldest = 0
  #snapshot: { seq: number; pieces: string[] } | undefined
  #isFollowing = false
  #isComplete = false
  #waking: NodeJS.Timeout | undefined
  #wokenAt = -Infinity
  #wake: () => void = () => {}
  #change: Promise<void> = this.#nextChange()

  constructor(
    store: LeaseStore,
    onChange: (event: RosterEvent) => void,
    onFailure: (error: unknown) => void
  ) {
    this.#store = store
    this.#onChange = onChange
    this.#onFailure = onFailure
  }

  /** Begins to follow the store; if that breaks off, the next call begins again. */
  start(): void {
    if (this.#isFollowing || this.#closing.signal.aborted) return
    this.#isFollowing = true
    void this.#follow()
      .catch(this.#onFailure)
      .then(() => (this.#isFollowing = false))
  }

  /** Ends every stream with `event: shutdown`. */
  close(): void {
    this.#closing.abort()
    clearTimeout(this.#waking)
    this.#wake()
  }

  /**
   * Pieces of an event stream: what was missed since `lastEventId`, or a snapshot, then what happens.
   * @param lastEventId what the client saw last
   * @param signal ends it
   */
  async *stream(lastEventId: string | undefined, signal: AbortSignal): AsyncGenerator<string> {
    let seq = this.#seqOf(lastEventId)
    yield 'retry: 2000\n\n'
    while (!signal.aborted && !this.#closing.signal.aborted) {
      if (!this.#isComplete || seq === this.#seq) {
        if (!(await this.#changeOrHeartbeat(signal))) yield ': here\n\n'
      } else if (seq === undefined || seq < this.#firstKept - 1) {
        const snapshot = this.#takeSnapshot()
        seq = snapshot.seq
        yield* snapshot.pieces
      } else {
        const missed = this.#events.slice(seq - this.#seq)
        seq = this.#seq
        yield missed.join('')
      }
    }
    if (!signal.aborted) yield 'event: shutdown\ndata: {}\n\n'
  }

  get #firstKept(): number {
    return Math.max(this.#oldest, this.#seq - this.#events.length) + 1
  }

  async #follow(): Promise<void> {
    for await (const event of this.#store.watch(undefined, this.#closing)) {
      if (event.type === 'snapshot') this.#reset(event.leases)
      else this.#add(event)
      this.#wakeSoon()
    }
  }

  /** In a storm of changes hundreds of streams take them by the handful, not one by one. */
  #wakeSoon(): void {
    if (this.#waking) return
    this.#waking = setTimeout(
      () => {
        this.#waking = undefined
        this.#wokenAt = performance.now()
        this.#wake()
        this.#change = this.#nextChange()
      },
      Math.max(0, this.#wokenAt + PACE - performance.now())
    )
  }

  #reset(leases: LeaseEntry[]): void {
    this.#texts.clear()
    for (const lease of leases) this.#texts.set(nameOf(lease), JSON.stringify(entryView(lease)))
    this.#seq += 1
    this.#oldest = this.#seq
    this.#events.length = 0
    this.#isComplete = true
  }

  #add({ type, lease }: Exclude<LeaseEvent, { type: 'snapshot' }>): void {
    const instance = entryView(lease)
    const text = JSON.stringify(instance)
    if (type === 'leave' || type === 'expire') this.#texts.delete(nameOf(lease))
    else this.#texts.set(nameOf(lease), text)
    this.#seq += 1
    this.#events.push(`id: ${this.#epoch}-${this.#seq}\nevent: ${NAMES[type]}\ndata: ${text}\n\n`)
    if (this.#events.length > KEPT) this.#events.shift()
    this.#onChange({ type: NAMES[type], instance })
  }

  /** One for all who need it at the same point, in pieces, so that who reads slowly holds little of it. */
  #takeSnapshot(): { seq: number; pieces: string[] } {
    if (this.#snapshot?.seq === this.#seq) return this.#snapshot
    const pieces: string[] = []
    let piece = `id: ${this.#epoch}-${this.#seq}\nevent: snapshot\ndata: [\n`
    let comma = ' '
    for (const text of this.#texts.values()) {
      piece += `data:${comma}${text}\n`
      comma = ','
      if (piece.length < PIECE) continue
      pieces.push(piece)
      piece = ''
    }
    this.#snapshot = { seq: this.#seq, pieces: [...pieces, `${piece}data: ]\n\n`] }
    return this.#snapshot
  }

  #seqOf(eventId: string | undefined): number | undefined {
    const [epoch, number] = eventId?.split('-') ?? []
    const seq = Number(number)
    return epoch === this.#epoch && seq <= this.#seq ? seq : undefined
  }

  /** @returns false after a while in which nothing changed */
  async #changeOrHeartbeat(signal: AbortSignal): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    let stop = (): void => {}
    const pause = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, HEARTBEAT, false)
      stop = () => resolve(true)
      signal.addEventListener('abort', stop)
    })
    try {
      return await Promise.race([pause, this.#change.then(() => true)])
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    }
  }

  #nextChange(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve))
  }
}

function nameOf({ service, id }: LeaseEntry): string {
  return `${service}/${id}`
}
