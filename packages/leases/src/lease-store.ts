/** Names one holder of one lease: an instance (`id`) of a service, in one life (`incarnation`). */
export interface LeaseKey {
  service: string
  id: string
  /** A random token of this start. Who comes with another one is another holder. */
  incarnation: string
}

export type LeaseRecord = Record<string, unknown>

export interface LeaseEntry extends LeaseKey {
  record: LeaseRecord
  /** Its deadline is over but it was kept, because too much of the registry would have gone at once. */
  suspect: boolean
}

export interface Lease extends LeaseEntry {
  /** ms since it was last put or renewed, by the store's clock. */
  age: number
  /** ms until it expires, by the store's clock; negative while it is suspect. */
  expiresIn: number
}

export interface PutOptions {
  /** `false`: leaves a lease that another incarnation holds alone and answers `fenced`. @default true */
  claim?: boolean | undefined
}

/** What `put` did: first of its id, took it from another incarnation, changed its record, nothing new, or not done. */
export type PutResult = 'join' | 'replace' | 'update' | 'same' | 'fenced'
/** `gone`: put it again. `fenced`: another incarnation holds the id, stop. */
export type RenewResult = 'ok' | 'gone' | 'fenced'
export type RemoveResult = 'left' | 'gone' | 'fenced'

/** What `watch` tells: first all that is there, then each change. */
export type LeaseEvent =
  | { type: 'snapshot'; leases: LeaseEntry[] }
  | {
      /** `update`: the record, or whether it is suspect, has changed. `expire`: gone without having left. */
      type: 'join' | 'replace' | 'update' | 'leave' | 'expire'
      /** As it is now, or was last. */
      lease: LeaseEntry
    }

/** Records that expire unless renewed. The TTL is the store's, in ms, counted by the store's clock. */
export interface LeaseStore {
  readonly ttl: number
  /** Creates or overwrites the lease of `service` and `id` and starts its TTL anew. Idempotent. */
  put(key: LeaseKey, record: LeaseRecord, options?: PutOptions): Promise<PutResult>
  /** Starts the TTL anew if the lease exists and is this incarnation's. Never creates. */
  renew(key: LeaseKey): Promise<RenewResult>
  /** Removes the lease if it is this incarnation's. */
  remove(key: LeaseKey): Promise<RemoveResult>
  get(service: string, id: string): Promise<Lease | undefined>
  list(service: string): Promise<Lease[]>
  /**
   * The leases of a service without their ages. Costs next to nothing while nothing changed, at any size: then it may be
   * the same array as before.
   */
  entries(service: string): Promise<readonly LeaseEntry[]>
  services(): Promise<string[]>
  /**
   * A snapshot, then every change, without a gap: after an outage what changed meanwhile comes as events. Waits while
   * the store is away; a consumer that falls 10,000 events behind gets a new snapshot. Ends with the signal or `close()`.
   * @param service all services if omitted
   */
  watch(
    service?: string,
    options?: { signal?: AbortSignal | undefined }
  ): AsyncGenerator<LeaseEvent>
  /** Calls `listener` whenever the store can be reached again; returns what ends that. */
  onReconnect(listener: () => void): () => void
  /** Ends connections and timers that the store made itself; leases stay. Never hangs. */
  close(): Promise<void>
}
