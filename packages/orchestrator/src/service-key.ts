import { createHash, timingSafeEqual } from 'node:crypto'

export type KeyCheck = (headers: {
  authorization?: string | undefined
  'x-service-key'?: unknown
}) => boolean

/**
 * Makes the check of X-Service-Key or a Bearer token against `keys`. The time it takes tells neither which key was
 * meant nor how much of it was right.
 */
export function keyCheck(keys: string[]): KeyCheck {
  const digests = keys.map(digest)
  return (headers) => {
    const given = digest(keyOf(headers))
    let matches = false
    for (const known of digests) matches = timingSafeEqual(known, given) || matches
    return matches
  }
}

function keyOf(headers: Parameters<KeyCheck>[0]): string {
  const given = headers['x-service-key']
  if (typeof given === 'string') return given
  return headers.authorization?.match(/^Bearer +(\S+)$/i)?.[1] ?? ''
}

/** Digests have one length, whatever was sent. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
