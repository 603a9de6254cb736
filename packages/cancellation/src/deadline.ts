import type { IncomingHttpHeaders } from 'node:http'

const UNITS: Record<string, number> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001
}

/**
 * Headers in which a caller says how long it will wait, and how to read them; NaN if malformed.
 * gRPC: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Connect: connectrpc.com/docs/protocol,
 * Envoy: the router filter's documentation.
 */
const READERS: Record<string, (value: string) => number> = {
  'x-request-timeout-ms': milliseconds,
  'x-envoy-expected-rq-timeout-ms': milliseconds,
  'connect-timeout-ms': milliseconds,
  'grpc-timeout': grpcTimeout
}

/**
 * How long the caller will wait, in ms; Infinity if it does not say.
 * @param malformed called with each header that is left out because it cannot be read
 */
export function callerTimeout(
  headers: IncomingHttpHeaders,
  malformed: (name: string, value: string) => void
): number {
  let shortest = Infinity
  for (const name in READERS) {
    const value = headers[name]
    if (value === undefined) continue
    const timeout = READERS[name]!(String(value))
    if (Number.isNaN(timeout)) malformed(name, String(value))
    else shortest = Math.min(shortest, timeout)
  }
  return shortest
}

function milliseconds(value: string): number {
  return /^\d{1,10}$/.test(value) ? Number(value) : NaN
}

function grpcTimeout(value: string): number {
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(value) ?? []
  return Number(digits) * (UNITS[unit] ?? NaN)
}
