import { inspect } from 'node:util'

/** The message of whatever was thrown, without users and passwords in URLs. */
export function messageOf(error: unknown): string {
  return redact(error instanceof Error ? error.message || error.name : inspect(error))
}

/** A copy for the log, of the same type, without users and passwords in URLs: neither in its causes. */
export function redacted(error: unknown): unknown {
  if (typeof error === 'string') return redact(error)
  if (!(error instanceof Error)) return error
  const { message, stack = '', cause } = error
  return Object.create(Object.getPrototypeOf(error), {
    ...Object.getOwnPropertyDescriptors(error),
    message: { value: redact(message) },
    stack: { value: redact(stack) },
    ...(cause === undefined ? {} : { cause: { value: redacted(cause) } })
  })
}

function redact(text: string): string {
  return text.replace(/\/\/[^\s/@]+@/g, '//***@')
}
