import type { Cancellation } from './token.ts'

/** `fetch`, aborted when cancelled; with a deadline, the remaining time goes along in `x-request-timeout-ms`. */
export function fetchUnder(
  token: Cancellation,
  input: string | URL | Request,
  init: RequestInit = {}
): Promise<Response> {
  const given = input instanceof Request ? input : undefined
  const headers = new Headers(init.headers ?? given?.headers)
  if (token.deadline !== undefined) headers.set('x-request-timeout-ms', String(token.remaining()))
  const own = init.signal ?? given?.signal
  const signal = own ? AbortSignal.any([own, token.signal]) : token.signal
  return fetch(input, { ...init, headers, signal })
}
