import createError from '@fastify/error'

/** Metadata that is no JSON object, or larger than 16 KiB. */
export const MetadataError = createError<[string, { cause: unknown }?]>(
  'MUSTER_ERR_METADATA',
  'metadata must be %s',
  400,
  TypeError
)
