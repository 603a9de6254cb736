import { StoreRefusedError, StoreUnavailableError } from './errors.ts'
import type { LeaseLogger, RedisSource } from './options.ts'
import { Outages } from './outages.ts'
import { type RedisClient, RedisConnection, redacted } from './redis-connection.ts'
import { within } from './within.ts'

/** What is tried, as far as it can fail by itself; each failing streak is told once. */
type Kind = 'read' | 'write' | 'mirror' | 'watch'

interface AccessOptions {
  redis: RedisSource
  /** ms that an operation may take, connecting included. */
  timeout: number
  logger: LeaseLogger
}

/** The server, as a store sees it: operations that end in time, coded errors, one log line a streak. */
export class RedisAccess {
  readonly #options: AccessOptions
  readonly #connection: RedisConnection
  readonly #outages: Outages
  readonly #onReady = new Set<() => void>()
  readonly #onLost = new Set<() => void>()
  #askedForPolicy = false

  constructor(options: AccessOptions) {
    this.#options = options
    this.#outages = new Outages(options.logger)
    this.#connection = new RedisConnection({
      source: options.redis,
      timeout: options.timeout,
      onLost: () => {
        for (const listener of this.#onLost) listener()
      },
      onReady: () => {
        void this.#warnOfEviction()
        for (const listener of this.#onReady) listener()
      }
    })
  }

  /** @throws MUSTER_ERR_STORE_UNAVAILABLE or MUSTER_ERR_STORE_REFUSED */
  async run<T>(what: Kind, operation: (client: RedisClient) => Promise<T>): Promise<T> {
    try {
      const result = await within(this.#options.timeout, async () =>
        operation(await this.#connection.ready())
      )
      this.#outages.over('connection')
      this.over(what)
      return result
    } catch (cause) {
      const error = asStoreError(cause)
      if (error instanceof StoreRefusedError) this.failed(what, error)
      else this.#outages.failed('connection', error)
      throw error
    }
  }

  failed(what: Kind, cause: unknown): void {
    this.#outages.failed(what, asStoreError(cause))
  }

  over(what: Kind): void {
    this.#outages.over(what)
  }

  /** Calls `listener` whenever there is a new connection; returns what ends that. */
  onReady(listener: () => void): () => void {
    this.#onReady.add(listener)
    return () => void this.#onReady.delete(listener)
  }

  onLost(listener: () => void): void {
    this.#onLost.add(listener)
  }

  close(): void {
    this.#onReady.clear()
    this.#connection.close()
  }

  /** A lease that the server evicts looks like a crash. Never rejects. */
  async #warnOfEviction(): Promise<void> {
    if (this.#askedForPolicy) return
    this.#askedForPolicy = true
    try {
      const info = await (await this.#connection.ready()).info('memory')
      const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? 'noeviction'
      if (policy === 'noeviction') return
      this.#options.logger.warn(
        `Redis may evict leases: its maxmemory-policy is ${policy}, not noeviction`
      )
    } catch {
      // It may not be ours to ask.
    }
  }
}

function asStoreError(cause: unknown): Error {
  if (cause instanceof StoreUnavailableError || !(cause instanceof Error)) return cause as Error
  if (cause instanceof StoreRefusedError) return cause
  const shown = redacted(cause)
  return shown.name === 'ReplyError'
    ? new StoreRefusedError(shown.message, { cause: shown })
    : new StoreUnavailableError(shown.message, { cause: shown })
}
