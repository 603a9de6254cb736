import { MetadataError } from './errors.ts'

const MAX_BYTES = 16_384

export type Metadata = Record<string, unknown>

/**
 * A copy as JSON has it.
 * @throws MUSTER_ERR_METADATA
 */
export function readMetadata(given: unknown): Metadata {
  const json = stringify(given)
  if (json?.[0] !== '{') throw new MetadataError(`a JSON object, received ${json?.slice(0, 80)}`)
  const bytes = Buffer.byteLength(json)
  if (bytes > MAX_BYTES) throw new MetadataError(`at most ${MAX_BYTES} bytes, received ${bytes}`)
  const { ['__proto__']: _, ...copy } = JSON.parse(json) as Metadata
  return copy
}

function stringify(given: unknown): string | undefined {
  try {
    return JSON.stringify(given)
  } catch (cause) {
    throw new MetadataError('JSON', { cause })
  }
}
