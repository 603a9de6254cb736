import type { Cluster, Redis } from 'ioredis'
import { StoreUnavailableError } from './errors.ts'
import type { RedisSource } from './options.ts'

export type RedisClient = Redis | Cluster

const LONGEST_RETRY = 500
// The server this connection leads to is not the one to ask, or does not know us: look for it again.
const WRONG_SERVER = /^(READONLY|NOAUTH|WRONGPASS|MASTERDOWN|LOADING)/

export interface ConnectionOptions {
  source: RedisSource
  /** ms for one attempt to connect and to get an answer. */
  timeout: number
  /** ms that a command may block on the server on top of that. @default 0 */
  block?: number
  onReady?: () => void
  onLost?: (cause: Error) => void
}

/** A connection of our own that fails fast: nothing is queued, nothing sent twice; it reconnects for ever. */
export class RedisConnection {
  readonly #options: ConnectionOptions
  #client: RedisClient | undefined
  #opening: Promise<RedisClient> | undefined
  #firstOutcome: Promise<void> | undefined
  #lastError: Error | undefined
  #closed = false

  constructor(options: ConnectionOptions) {
    this.#options = options
  }

  /**
   * The client, connected. Waits for the first attempt, never for a later one.
   * @throws MUSTER_ERR_STORE_UNAVAILABLE
   */
  async ready(): Promise<RedisClient> {
    if (this.#closed) throw new StoreUnavailableError('it was closed')
    const client = await (this.#opening ??= this.#open())
    if (client.status !== 'ready') await this.#firstOutcome
    if (client.status === 'ready' && !this.#closed) return client
    const cause = this.#lastError
    throw new StoreUnavailableError(this.#closed ? 'it was closed' : reason(cause), { cause })
  }

  /** Drops the connection and makes a new one, perhaps to another server. */
  reconnect(): void {
    if (!this.#closed) this.#client?.disconnect(true)
  }

  close(): void {
    this.#closed = true
    this.#client?.disconnect()
  }

  async #open(): Promise<RedisClient> {
    const client = await createClient(this.#options)
    this.#client = client
    // An `error` without a listener is printed by ioredis; what it says is shown where an operation fails.
    client.on('error', (error: Error) => (this.#lastError = redacted(error)))
    client.on('node error', (error: Error) => (this.#lastError = redacted(error)))
    client.on('ready', () => {
      this.#lastError = undefined
      this.#options.onReady?.()
    })
    client.on('close', () =>
      this.#options.onLost?.(this.#lastError ?? new Error(reason(undefined)))
    )
    this.#firstOutcome = firstOutcome(client, this.#options.timeout)
    if (this.#closed) client.disconnect()
    else client.connect().catch(() => {})
    return client
  }
}

/** Resolves at the first success or failure, or when the time is over. */
function firstOutcome(client: RedisClient, timeout: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, timeout)
    client.once('ready', done).once('close', done).once('end', done)
    function done(): void {
      clearTimeout(timer)
      client.off('ready', done).off('close', done).off('end', done)
      resolve()
    }
  })
}

async function createClient({
  source,
  timeout,
  block = 0
}: ConnectionOptions): Promise<RedisClient> {
  const node = {
    connectTimeout: timeout,
    commandTimeout: timeout + block,
    // A connection on which nothing comes back is dead, though TCP may not know it for a quarter of an hour.
    socketTimeout: timeout + block,
    sentinelCommandTimeout: timeout,
    maxLoadingRetryTime: 200,
    autoResendUnfulfilledCommands: false,
    reconnectOnError: (error: Error) => WRONG_SERVER.test(error.message),
    stringNumbers: false,
    disableClientInfo: true,
    // With RESP3 ioredis reads large replies several times slower, and shapes some of them differently.
    protocol: 2 as const,
    replyMapping: 'legacy' as const,
    readOnly: false,
    // A master that was replaced while it lives goes on answering until the sentinels come round to it.
    failoverDetector: block === 0
  }
  const outer = { enableOfflineQueue: false, lazyConnect: true, enableAutoPipelining: false }
  const options = {
    ...node,
    ...outer,
    maxRetriesPerRequest: 0,
    retryStrategy,
    sentinelRetryStrategy: retryStrategy
  }
  const given = clientOf(source)
  if (given && isCluster(given)) {
    return given.duplicate([], {
      ...outer,
      redisOptions: node,
      scaleReads: 'master',
      slotsRefreshTimeout: timeout,
      clusterRetryStrategy: retryStrategy
    })
  }
  if (given) return given.duplicate(options)
  const { Redis } = await import('ioredis')
  if (typeof source === 'string' || source instanceof URL) return new Redis(String(source), options)
  return new Redis({ ...source, ...options })
}

function retryStrategy(attempt: number): number {
  const ceiling = Math.min(LONGEST_RETRY, 25 * 2 ** Math.min(attempt, 10))
  return ceiling / 2 + Math.random() * (ceiling / 2)
}

function clientOf(source: RedisSource): RedisClient | undefined {
  if (typeof source !== 'object' || !('duplicate' in source)) return undefined
  return source as unknown as RedisClient
}

function isCluster(client: RedisClient): client is Cluster {
  return client.isCluster
}

/** A failed command carries its arguments, a password among them. */
export function redacted(error: Error): Error {
  if ('command' in error) delete error.command
  return error
}

function reason(cause: Error | undefined): string {
  return cause?.message ?? 'not connected'
}
