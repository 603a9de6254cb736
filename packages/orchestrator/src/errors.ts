import createError from '@fastify/error'

/** The key is missing or not one of ours. */
export const KeyError = createError(
  'MUSTER_ERR_SERVICE_KEY',
  'A valid key is needed, in X-Service-Key or as a Bearer token',
  401
)

/** No such service or instance, or it has expired. A client registers again. */
export const UnknownServiceError = createError<[string]>(
  'MUSTER_ERR_UNKNOWN_SERVICE',
  '%s is not registered',
  404
)

/** Another incarnation holds this instance. A client stops and says so. */
export const FencedError = createError<[string]>(
  'MUSTER_ERR_FENCED',
  '%s was registered by another process since',
  409
)

/** The payload of a registration is well-formed JSON but not acceptable. */
export const PayloadError = createError<[string]>('MUSTER_ERR_PAYLOAD', '%s', 422)

/** The path after `run` tries to leave what the service has registered. */
export const PathError = createError<[string]>('MUSTER_ERR_PATH', '%s', 400)

/** No instance of the service could be reached. */
export const UnreachableError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_UNREACHABLE',
  'The service could not be reached: %s',
  502
)

/** An instance accepted the request and did not answer in time. */
export const UpstreamTimeoutError = createError<[string]>(
  'MUSTER_ERR_UPSTREAM_TIMEOUT',
  'No answer from %s',
  504
)

/** The proxy was asked for something that came through the proxy. */
export const LoopError = createError('MUSTER_ERR_LOOP', 'The request came through here before', 508)

/** As many event streams are open as one orchestrator serves. */
export const TooManyStreamsError = createError(
  'MUSTER_ERR_TOO_MANY_STREAMS',
  'Too many event streams are open here',
  503
)

/** The command was called with arguments that it does not know or cannot use. */
export const UsageError = createError<[string, { cause?: unknown }?]>(
  'MUSTER_ERR_USAGE',
  '%s (--help shows what is possible)'
)
