import createError from '@fastify/error'

/** The shutdown ended, but requests were cut or a step failed: the process exits with code 1. Logged. */
export const UncleanShutdownError = createError<[string]>(
  'MUSTER_ERR_UNCLEAN_SHUTDOWN',
  'The shutdown was not clean: %s'
)
