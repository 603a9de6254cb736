import { duration, instanceName, OptionError, parseOptions, v } from '@muster/options'
import type { RedisOptions } from 'ioredis'

export interface LeaseOptions {
  /** What shares leases: stores of one namespace see each other. @default 'default' */
  namespace?: string | undefined
  /** ms that a lease lives without being renewed. */
  ttl: number
  /** ms that a lease is kept as suspect after its deadline while too many are over theirs. @default its TTL */
  grace?: number | undefined
  /**
   * Share of the leases, 0 to 1, but at least one, that may expire within one TTL; the others are kept as
   * suspect until their grace is over, because it is more likely that the store was away. @default 0.2
   */
  expiryShare?: number | undefined
}

/** Where a store says that it lost its server and found it again. `console` and any Fastify logger fit. */
export interface LeaseLogger {
  info(message: string): void
  warn(message: string): void
}

/** An ioredis `Redis` or `Cluster`, of version 5 or 6. */
export interface IoredisClient {
  readonly status: string
  readonly isCluster: boolean
  duplicate(...args: never[]): unknown
  defineCommand(name: string, definition: { lua: string }): void
}

/** A URL, ioredis options (standalone or Sentinel), or an ioredis client, which is duplicated and never closed. */
export type RedisSource = string | URL | RedisOptions | IoredisClient

export interface RedisLeaseOptions extends LeaseOptions {
  /** The server: a URL, ioredis options (Sentinel too), or an ioredis `Redis` or `Cluster`, which is duplicated. */
  redis: RedisSource
  /** ms that an operation may take, connecting included. @default 1500 */
  timeout?: number | undefined
  /**
   * Prefix of plain keys, `<prefix><service>:<id>`, that hold the JSON of each lease of this store besides, for readers
   * that know no other layout. @default none
   */
  mirror?: string | undefined
  /** @default silence */
  logger?: LeaseLogger | undefined
}

const common = {
  namespace: v.optional(instanceName, 'default'),
  ttl: v.pipe(duration, v.minValue(100)),
  grace: v.optional(duration),
  expiryShare: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(1)), 0.2)
}

const logger = v.custom<LeaseLogger>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    ['info', 'warn'].every((name) => typeof Reflect.get(value, name) === 'function'),
  'expected an object with info() and warn()'
)

const source = v.custom<RedisSource>(
  (value) =>
    typeof value === 'string'
      ? /^rediss?:\/\/./.test(value)
      : typeof value === 'object' && value !== null && !Array.isArray(value),
  'expected a redis:// or rediss:// URL, ioredis options or an ioredis client (value not shown)'
)

const memory = v.strictObject(common)

const redis = v.strictObject({
  ...common,
  redis: source,
  timeout: v.optional(duration, 1_500),
  mirror: v.optional(v.pipe(v.string(), v.regex(/^[^\p{Cc}]{1,128}$/u))),
  logger: v.optional(logger, { info() {}, warn() {} })
})

export function readMemoryOptions(input: unknown) {
  return parseOptions('memoryLeases', memory, input)
}

export function readRedisOptions(input: unknown) {
  const options = parseOptions('redisLeases', redis, input)
  if (options.redis instanceof URL && !/^rediss?:$/.test(options.redis.protocol)) {
    throw new OptionError(
      'redisLeases: option "redis": expected a redis:// or rediss:// URL (value not shown)'
    )
  }
  return options
}
