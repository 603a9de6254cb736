import { randomUUID } from 'node:crypto'
import { type LeaseStore, memoryLeases } from '@muster/leases'
import { duration, OptionError, parseOptions, secret, v } from '@muster/options'

const oneKey = v.pipe(
  secret,
  v.transform((key) => [key])
)
// No union: its message would show what it received.
const keys = v.lazy((given) => (Array.isArray(given) ? v.array(secret) : oneKey))

const store = v.custom<LeaseStore>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    ['put', 'renew', 'remove', 'watch'].every(
      (name) => typeof Reflect.get(value, name) === 'function'
    ),
  'expected a store of @muster/leases'
)

const DEFAULT_PROXY_TIMEOUT = 30_000

const schema = v.strictObject({
  store: v.optional(store),
  ttl: v.optional(v.pipe(duration, v.minValue(1_000))),
  key: v.optional(keys, []),
  readKey: v.optional(keys, []),
  proxy: v.optional(
    v.union([
      v.boolean(),
      v.strictObject({ timeout: v.optional(duration, DEFAULT_PROXY_TIMEOUT) })
    ]),
    true
  ),
  prefix: v.optional(v.pipe(v.string(), v.regex(/^(\/[\w.~-]+)+$/)), '/services')
})

export function readOptions(input: unknown) {
  const options = parseOptions('orchestrator', schema, input)
  const { ttl, proxy } = options
  if (options.store && ttl !== undefined && ttl !== options.store.ttl) {
    throw new OptionError(
      `orchestrator: option "ttl": ${ttl}, but that of the given store is ${options.store.ttl}; set it there only`
    )
  }
  return {
    ...options,
    proxy: proxy === true ? { timeout: DEFAULT_PROXY_TIMEOUT } : proxy,
    ownsStore: options.store === undefined,
    // A namespace of its own: two orchestrators in one process share nothing.
    store: options.store ?? memoryLeases({ namespace: randomUUID(), ttl: ttl ?? 30_000 })
  }
}
