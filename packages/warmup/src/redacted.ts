import { redact } from '@muster/readiness'
import { inspect } from 'node:util'

const DEEPEST_CAUSE = 5

/** The message of whatever was thrown, without users and passwords in URLs. */
export function messageOf(error: unknown): string {
  return redact(error instanceof Error ? error.message || error.name : inspect(error))
}

/** A copy for the log, of the same type, without users and passwords in URLs: neither in its causes. */
export function redacted(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error) || depth === DEEPEST_CAUSE) return messageOf(error)
  const { message, stack = '', cause, errors } = error as AggregateError
  const inner = (value: unknown) => ({ value: redacted(value, depth + 1) })
  return Object.create(Object.getPrototypeOf(error), {
    ...Object.getOwnPropertyDescriptors(error),
    message: { value: redact(message) },
    stack: { value: redact(stack) },
    ...(cause === undefined ? {} : { cause: inner(cause) }),
    ...(Array.isArray(errors) ? { errors: { value: errors.map((one) => inner(one).value) } } : {})
  })
}
