import { randomUUID } from 'node:crypto'
import { type LeaseStore, memoryLeases } from '@muster/leases'
import { duration, OptionError, parseOptions, secret } from '@muster/options'
import * as v from 'valibot'

const keys = v.union([
  v.pipe(
    secret,
    v.transform((key) => [key])
  ),
  v.array(secret)
])

const store = v.custom<LeaseStore>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    ['put', 'renew', 'remove', 'watch'].every(
      (name) => typeof Reflect.get(value, name) === 'function'
    ),
  'expected a store of @muster/leases'
)

const schema = v.strictObject({
  store: v.optional(store),
  ttl: v.optional(v.pipe(duration, v.minValue(1_000))),
  key: v.optional(keys, []),
  readKey: v.optional(keys, []),
  prefix: v.optional(v.pipe(v.string(), v.regex(/^(\/[\w.~-]+)+$/)), '/services')
})

export function readOptions(input: unknown) {
  const options = parseOptions('orchestrator', schema, input)
  const { ttl } = options
  if (options.store && ttl !== undefined && ttl !== options.store.ttl) {
    throw new OptionError(
      `orchestrator: option "ttl": ${ttl}, but that of the given store is ${options.store.ttl}; set it there only`
    )
  }
  return {
    ...options,
    ownsStore: options.store === undefined,
    // A namespace of its own: two orchestrators in one process share nothing.
    store: options.store ?? memoryLeases({ namespace: randomUUID(), ttl: ttl ?? 30_000 })
  }
}
