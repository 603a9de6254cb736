import createError from '@fastify/error'

/** `whenReady()`: the time from listening to ready is over. Says what was missing. */
export const ReadyTimeoutError = createError<[string]>(
  'MUSTER_ERR_READY_TIMEOUT',
  'The service did not become ready: %s',
  503
)

/** `whenReady()`: the service is failed or draining and will not become ready any more. */
export const NotReadyError = createError<[string]>(
  'MUSTER_ERR_NOT_READY',
  'The service will not become ready: %s',
  503
)

/** A check did not answer within its timeout, or not yet to the previous run. */
export const CheckTimeoutError = createError<[string]>('MUSTER_ERR_CHECK_TIMEOUT', '%s')

/** A check answered with something that is no success. */
export const CheckFailedError = createError<[string]>('MUSTER_ERR_CHECK_FAILED', '%s')

/** An attempt of the self-probe did not reach this service. */
export const ProbeError = createError<[string]>('MUSTER_ERR_PROBE', '%s')

/** A step of the withdrawal did not end within `withdrawTimeout`. Logged; draining goes on. */
export const WithdrawTimeoutError = createError(
  'MUSTER_ERR_WITHDRAW_TIMEOUT',
  'it did not end within withdrawTimeout'
)

/** The path that the self-probe was given is not a route of this service: no later attempt will find it. */
export const ProbePathError = createError<[string]>(
  'MUSTER_ERR_PROBE_PATH',
  'the probe path %s is not there (404)'
)

/** A marker could not be written or removed: the directory is missing, or not the service's to write to. */
export const MarkerError = createError<[string, string, { cause: unknown }?]>(
  'MUSTER_ERR_MARKER',
  'The marker file %s: %s'
)

/** systemd waits for a notification that cannot be sent: no descriptor was handed on and there is no `systemd-notify`. Logged. */
export const NotifyError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_NOTIFY',
  'systemd could not be notified: %s'
)
