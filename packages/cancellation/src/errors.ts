import createError, { type FastifyError } from '@fastify/error'

/** Why a request is cancelled: the client left, the process goes, its time is over, the application said so. */
export type CancellationKind = 'client' | 'shutdown' | 'deadline' | 'manual'

/** What a cancelled token holds, throws and gives to its signal. */
export interface CancellationError extends FastifyError {
  readonly kind: CancellationKind
  /** Whether the request had arrived before it was cancelled; if not, a handler that looks first has done nothing. */
  readonly started: boolean
  /** Whether the same request may succeed elsewhere or later. */
  readonly retryable: boolean
}

/** The client closed the connection or reset the stream. Logged as 499; nothing is sent. */
const ClientGoneError = createError<[]>(
  'MUSTER_ERR_CLIENT_GONE',
  'The client left before the response was complete',
  499,
  Error,
  false
)

/** The process shuts down. Answered 503 with Retry-After and, on HTTP/1, `connection: close`. */
const ShutdownError = createError<[]>(
  'MUSTER_ERR_SHUTDOWN',
  'The server is shutting down',
  503,
  Error,
  false
)

/** A handler threw a reason although its own request is not cancelled; `cause` is what it threw. */
export const NotCancelledError = createError<[{ cause: unknown }]>(
  'MUSTER_ERR_NOT_CANCELLED',
  'The handler threw the reason of a cancellation, but its request is not cancelled',
  500
)

/** An onRequest hook read `request.cancellation` before the plugin's own hook ran: register the plugin first. */
export const TooEarlyError = createError<[]>(
  'MUSTER_ERR_TOO_EARLY',
  'request.cancellation was read by a hook that runs before @muster/cancellation: register it first',
  500
)

export function clientGone(): CancellationError {
  return reason(new ClientGoneError(), 'client', { started: true, retryable: false })
}

export function shutdown(started: boolean): CancellationError {
  return reason(new ShutdownError(), 'shutdown', { started, retryable: true })
}

function reason(
  error: FastifyError,
  kind: CancellationKind,
  rest: { started: boolean; retryable: boolean }
): CancellationError {
  return Object.assign(error, { kind, ...rest })
}

/** Whether `error` was made here as the reason of some token. */
export function isReason(error: unknown): error is CancellationError {
  return error instanceof Error && 'kind' in error && 'started' in error && 'retryable' in error
}
