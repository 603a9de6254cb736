import type { LeaseStore, RedisSource } from '@muster/leases'
import { duration, instanceName, OptionError, parseOptions, slug, v } from '@muster/options'
import type { Metadata } from './metadata.ts'

const url = v.pipe(
  v.union([v.string(), v.instance(URL)]),
  v.transform(String),
  v.check(
    (text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol),
    ({ received }) => `expected an http or https URL but received ${received}`
  )
)

const store = v.custom<LeaseStore>(
  (value) => typeof value === 'object' && value !== null && 'renew' in value,
  'expected a lease store, such as memoryLeases({ ttl }) or redisLeases({ redis, ttl })'
)

const metadata = v.custom<Metadata | (() => Metadata)>(
  (value) =>
    typeof value === 'function' ||
    (typeof value === 'object' && value !== null && !Array.isArray(value)),
  ({ received }) => `expected an object or a function that returns one but received ${received}`
)

const requests = v.strictObject({
  drain: v.optional(
    v.custom<boolean | (() => unknown)>(
      (value) => typeof value === 'boolean' || typeof value === 'function',
      ({ received }) => `expected true, false or a function but received ${received}`
    )
  )
})

const schema = v.strictObject({
  service: v.optional(slug),
  instanceId: v.optional(instanceName),
  // What it may be is for redisLeases to say.
  redis: v.optional(v.custom<RedisSource>((value) => value !== null)),
  store: v.optional(store),
  namespace: v.optional(instanceName, 'default'),
  ttl: v.optional(duration),
  heartbeat: v.optional(duration, 5_000),
  grace: v.optional(duration),
  timeout: v.optional(duration, 1_500),
  metadata: v.optional(metadata, {}),
  mirror: v.optional(v.string()),
  requests: v.optional(requests, {}),
  advertise: v.optional(url),
  required: v.optional(v.boolean(), false)
})

export function readOptions(input: unknown) {
  const { ttl: given, store: own, ...options } = parseOptions('presence', schema, input)
  if (own && options.redis !== undefined) {
    throw new OptionError('presence: give one of the options "redis" and "store", not both')
  }
  if (options.mirror !== undefined && options.redis === undefined) {
    throw new OptionError('presence: option "mirror": only with "redis", as it is a key there')
  }
  const ttl = own?.ttl ?? given ?? 15_000
  if (ttl < 3 * options.heartbeat) {
    throw new OptionError(
      `presence: option "ttl": expected at least three times "heartbeat" (${3 * options.heartbeat}) but received ${ttl}`
    )
  }
  return { ...options, store: own, ttl }
}
