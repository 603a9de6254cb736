import createError from '@fastify/error'

/** Metadata that is no JSON object, or larger than 16 KiB. */
export const MetadataError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_METADATA',
  'metadata must be %s',
  400,
  TypeError
)

/** `request()`: the instance does not accept this request, or not any more. */
export const RequestNotAcceptedError = createError<[string, string]>(
  'MUSTER_ERR_REQUEST_NOT_ACCEPTED',
  '%s does not accept the request "%s"',
  409
)

/** `dispatcher()`: no instance of the service was there within `wait`. */
export const NoInstanceError = createError<[string]>(
  'MUSTER_ERR_NO_INSTANCE',
  'No instance of "%s" is there to send the request to',
  503
)
