import createError from '@fastify/error'

/** The store did not answer in time, is not connected, or was closed. It reconnects by itself. */
export const StoreUnavailableError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_STORE_UNAVAILABLE',
  'The lease store is unavailable: %s',
  503
)

/** The store answered with an error: out of memory, read only, no permission. */
export const StoreRefusedError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_STORE_REFUSED',
  'The lease store refused: %s',
  503
)

/** A service, id or incarnation that cannot be a part of a key. */
export const LeaseKeyError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_LEASE_KEY',
  '%s',
  400,
  TypeError
)

/** A record that is no JSON object or too large. */
export const LeaseRecordError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_LEASE_RECORD',
  '%s',
  400,
  TypeError
)
