import { setTimeout as pause } from 'node:timers/promises'
import type { LeaseEntry } from './lease-store.ts'
import { entry, type LeaseView, type StreamEvent } from './lease-view.ts'
import type { RedisAccess } from './redis-access.ts'
import type { RedisClient, RedisConnection } from './redis-connection.ts'
import { isLoss, type RedisRegistry, type Revision } from './redis-registry.ts'

/** ms that a read of the stream waits at most. */
export const LONGEST_BLOCK = 5_000
/** A suspect that is renewed makes no event: while there are any, they are looked at this often, in ms. */
const SUSPECTS_EVERY = 1_000
const RETRY_AFTER = 200
/** An outage of the server is told by the store's own operations: this many failures in a row are something else. */
const FAILURES_TO_TELL = 10
const EVENTS_AT_ONCE = 1_000

interface TailOptions {
  registry: RedisRegistry
  view: LeaseView
  /** For what must not wait behind a blocking read. */
  redis: RedisAccess
  /** On which reads of the stream block; closed with the tail. */
  connection: RedisConnection
  /** ms that what the registry lost is kept as suspect. */
  lostFor: number
  /** The view shows all that is there. */
  onRead: () => void
}

/** Keeps a view of a namespace up to date: reads all of it, then follows its stream of changes. */
export class RedisTail {
  readonly #options: TailOptions
  readonly #life = new AbortController()
  /** Where the view stands. */
  #at: Revision = { epoch: '', seq: 0 }
  /** Something may have been missed: all is to be read again. */
  #missed = true
  #known = false
  #sweepAt = 0
  #suspects = false

  constructor(options: TailOptions) {
    this.#options = options
    void this.#follow()
  }

  /** What is there, undefined as long as that is not known. */
  list(service?: string): LeaseEntry[] | undefined {
    return this.#known ? this.#options.view.list(service).map(entry) : undefined
  }

  /** The store has found another server, perhaps: the stream is to be read from there too. */
  reconnect(): void {
    this.#options.connection.reconnect()
  }

  close(): void {
    this.#life.abort()
    this.#options.connection.close()
  }

  /** Never rejects. */
  async #follow(): Promise<void> {
    const { connection, redis } = this.#options
    const { signal } = this.#life
    let failures = 0
    while (!signal.aborted) {
      try {
        if (this.#missed) await this.#recover()
        const client = await connection.ready()
        await this.#pull(client, this.#sweepAt - performance.now())
        if (performance.now() >= this.#sweepAt && !this.#missed) await this.#sweep(client)
        failures = 0
        redis.over('watch')
      } catch (error) {
        this.#missed = true
        if (signal.aborted) return
        if (++failures === FAILURES_TO_TELL) redis.failed('watch', error)
        await pause(RETRY_AFTER, undefined, { signal }).catch(() => {})
      }
    }
  }

  #run<T>(operation: (client: RedisClient) => Promise<T>): Promise<T> {
    return this.#options.redis.run('read', operation)
  }

  /** Reads on where the view stood, as far as the stream goes back, then all there is. */
  async #recover(): Promise<void> {
    const { registry, connection, lostFor } = this.#options
    const found = await this.#run((client) => registry.sweep(client))
    const client = await connection.ready()
    const lost = isLoss(this.#at, found)
    this.#missed = false
    let seq = -1
    while (this.#known && !lost && !this.#missed && this.#at.seq > seq) {
      seq = this.#at.seq
      await this.#pull(client, 0)
    }
    await this.#readAll(lost ? performance.now() + lostFor : undefined)
    this.#missed = false
  }

  async #readAll(lostUntil: number | undefined): Promise<void> {
    const { registry, view, onRead } = this.#options
    const { epoch, seq } = await this.#run((client) => registry.sweep(client))
    const there = await this.#run((client) => registry.services(client))
    view.startReading()
    const read = async (service: string): Promise<void> => {
      const { size } = await this.#run((client) => registry.sweep(client, service))
      const found = await this.#run((client) =>
        registry.values(client, service, { epoch, seq, size })
      )
      view.reset(service, found.values, found.seq, lostUntil)
    }
    await Promise.all([...new Set([...there, ...view.services])].map(read))
    this.#at = { epoch, seq }
    this.#sweepAt = 0
    this.#known = true
    onRead()
  }

  /** Reads the next changes, waiting up to `wait` ms for the first. */
  async #pull(client: RedisClient, wait: number): Promise<void> {
    const { view, registry } = this.#options
    const block = Math.ceil(Math.min(Math.max(wait, 1), LONGEST_BLOCK))
    const reply = await client.xread(
      'COUNT',
      EVENTS_AT_ONCE,
      'BLOCK',
      block,
      'STREAMS',
      registry.events,
      `${this.#at.seq}-0`
    )
    for (const [id, fields] of reply?.[0]?.[1] ?? []) {
      const event = streamEvent(id, fields)
      // Trimmed before it was read, or of a version to come: only what is stored can tell.
      if (event.seq !== this.#at.seq + 1 || !view.apply(event)) {
        this.#missed = true
        return
      }
      this.#at.seq = event.seq
      this.#sweepAt = Math.min(this.#sweepAt, performance.now() + ttlOf(event))
    }
  }

  /** Looks for what makes no event: deadlines, and a registry that lost its data. */
  async #sweep(client: RedisClient): Promise<void> {
    const { registry, view } = this.#options
    const found = await this.#run((other) => registry.sweep(other))
    if (this.#at.epoch === '') this.#at.epoch = found.epoch
    if (found.seq > this.#at.seq) await this.#pull(client, 0)
    if (isLoss(this.#at, found) || found.seq > this.#at.seq) this.#missed = true
    if (this.#missed) return
    if (this.#suspects || found.suspects.size > 0) view.markSuspects(found.suspects)
    this.#suspects = view.dropLost() || found.suspects.size > 0
    const wait = found.wait < 0 ? LONGEST_BLOCK : found.wait + 1
    const most = this.#suspects ? SUSPECTS_EVERY : LONGEST_BLOCK
    this.#sweepAt = performance.now() + Math.min(wait, most)
  }
}

function streamEvent(id: string, fields: string[]): StreamEvent {
  const field = (name: string): string => {
    const at = fields.findIndex((other, index) => index % 2 === 0 && other === name)
    return at < 0 ? '' : (fields[at + 1] as string)
  }
  return {
    seq: Number(id.split('-')[0]),
    op: field('op'),
    service: field('service'),
    id: field('id'),
    value: field('value')
  }
}

function ttlOf({ value }: StreamEvent): number {
  return Number(/^\S+ (\d+) /.exec(value)?.[1] ?? Infinity)
}
