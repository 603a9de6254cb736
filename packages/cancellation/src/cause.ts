import type { CancellationError } from './errors.ts'

const DEPTH = 8

/**
 * Whether `error` came about because of `reason`: it is the reason, the reason is in its chain of causes,
 * all parts of an AggregateError did, or it is an AbortError that names no cause (node-redis).
 * For a client that left, a stream to it that closed too early is the same thing.
 */
export function isBecauseOf(error: unknown, reason: CancellationError, depth = DEPTH): boolean {
  if (error === reason) return true
  if (!(error instanceof Error) || depth === 0) return false
  if (error.cause !== undefined) return isBecauseOf(error.cause, reason, depth - 1)
  if (error instanceof AggregateError && error.errors.length > 0) {
    return error.errors.every((part) => isBecauseOf(part, reason, depth - 1))
  }
  if (reason.kind === 'client' && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE') {
    return true
  }
  // That of node-redis has no name of its own.
  return error.name === 'AbortError' || error.constructor.name === 'AbortError'
}
