import createError from '@fastify/error'

/** A call to the orchestrator got no answer. Logged once per streak; tried again. */
export const OrchestratorUnreachableError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_ORCHESTRATOR_UNREACHABLE',
  '%s'
)

/** The orchestrator answered, but not with success. Logged once per streak with what it said; tried again. */
export const OrchestratorRefusedError = createError<[string]>(
  'MUSTER_ERR_ORCHESTRATOR_REFUSED',
  '%s'
)

/** The `info` function threw, or returned what is no JSON. Logged once per streak; tried again slowly. */
export const InfoError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_INFO',
  'option "info": %s'
)

/** There is nothing to advertise: the service listens on a unix socket only, and `advertise` is not set. */
export const AdvertiseError = createError(
  'MUSTER_ERR_ADVERTISE',
  'option "advertise": needed, as the service listens on no TCP port'
)

/** `required`: not registered in time. Logged; the app is closed and `process.exitCode` is 1. */
export const NotRegisteredError = createError<[string, number, string]>(
  'MUSTER_ERR_NOT_REGISTERED',
  'not registered with %s within %d ms: %s'
)
