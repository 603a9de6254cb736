/** Names one holder of one lease: an instance (`id`) of a service, in one life (`incarnation`). */
export interface LeaseKey {
  service: string
  id: string
  /** A random token of this start. Who comes with another one is another holder. */
  incarnation: string
}

export type LeaseRecord = Record<string, unknown>

export interface Lease extends LeaseKey {
  record: LeaseRecord
  /** ms since it was last put or renewed, by the store's clock. */
  age: number
  /** ms until it expires, by the store's clock. */
  expiresIn: number
  /** Its deadline is over but it was kept, because too much of the registry would have gone at once. */
  suspect: boolean
}

/** What `put` did: first of its id, took it from another incarnation, changed its record, or nothing new. */
export type PutResult = 'join' | 'replace' | 'update' | 'same'
/** `gone`: put it again. `fenced`: another incarnation holds the id, stop. */
export type RenewResult = 'ok' | 'gone' | 'fenced'
export type RemoveResult = 'left' | 'gone' | 'fenced'

/** Records that expire unless renewed. The TTL is the store's, in ms, counted by the store's clock. */
export interface LeaseStore {
  readonly ttl: number
  /** Creates or overwrites the lease of `service` and `id` and starts its TTL anew. Idempotent. */
  put(key: LeaseKey, record: LeaseRecord): Promise<PutResult>
  /** Starts the TTL anew if the lease exists and is this incarnation's. Never creates. */
  renew(key: LeaseKey): Promise<RenewResult>
  /** Removes the lease if it is this incarnation's. */
  remove(key: LeaseKey): Promise<RemoveResult>
  get(service: string, id: string): Promise<Lease | undefined>
  list(service: string): Promise<Lease[]>
  services(): Promise<string[]>
  /** Ends connections and timers that the store made itself; leases stay. Never hangs. */
  close(): Promise<void>
}
