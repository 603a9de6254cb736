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
