import createError from '@fastify/error'

/** `get()` or `refresh()`: the value was not there within `timeout`. Carries `retry-after`. */
export const WarmingUpError = createError<[string]>(
  'MUSTER_ERR_WARMING_UP',
  'Still waiting for %s, try again shortly',
  503
)

/** A task failed for good, or did not end within `deadline`. `listen()` rejects with it; `cause` is the last error. */
export const WarmupFailedError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_WARMUP_FAILED',
  '%s',
  503
)

/** A run took longer than the task's `timeout`. */
export const WarmupTimeoutError = createError<[string, number]>(
  'MUSTER_ERR_WARMUP_TIMEOUT',
  '%s: no result within %d ms',
  503
)

/** The service failed or is going: what was on its way is given up and nothing new begins. */
export const WarmupStoppedError = createError<[string]>(
  'MUSTER_ERR_WARMUP_STOPPED',
  'The warm-up was stopped: %s',
  503
)

/** `fatal()` was given something that is no Error. */
export const FatalError = createError<[string]>('MUSTER_ERR_WARMUP_FATAL', '%s')
