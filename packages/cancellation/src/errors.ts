import { STATUS_CODES } from 'node:http'
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

/** The deadline of the route or of the caller has passed. Answered 504. */
const DeadlineError = createError<[]>(
  'MUSTER_ERR_DEADLINE',
  'The deadline of the request has passed',
  504,
  Error,
  false
)

/** The application cancelled the request by its id. Answered 409 with what it said. */
const CancelledError = createError<[string]>('MUSTER_ERR_CANCELLED', '%s', 409, Error, false)

const REASONS = [ClientGoneError, ShutdownError, DeadlineError, CancelledError]

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

/** Work under `shield()` was not done after `max` ms. `cause` is the reason, if the request is cancelled. */
export const ShieldTimeoutError = createError<[number, { cause: unknown }]>(
  'MUSTER_ERR_SHIELD_TIMEOUT',
  'The shielded work was not done within %d ms',
  500
)

/** A worker under `run()` ended without an answer, or was terminated. `cause` is the reason, if there is one. */
export const WorkerEndedError = createError<[number, { cause: unknown }]>(
  'MUSTER_ERR_WORKER_ENDED',
  'The worker ended with code %d before it answered',
  500
)

export function clientGone(): CancellationError {
  return asReason(new ClientGoneError(), 'client', { started: true, retryable: false })
}

export function shuttingDown(started: boolean): CancellationError {
  return asReason(new ShutdownError(), 'shutdown', { started, retryable: true })
}

export function deadlinePassed(started: boolean): CancellationError {
  return asReason(new DeadlineError(), 'deadline', { started, retryable: true })
}

/** @param why what the client and the log are told */
export function cancelledBecause(why: string): CancellationError {
  return asReason(new CancelledError(why), 'manual', { started: true, retryable: false })
}

function asReason(
  error: FastifyError,
  kind: CancellationKind,
  rest: { started: boolean; retryable: boolean }
): CancellationError {
  return Object.assign(error, { kind, ...rest })
}

/** Whether `error` was made here as the reason of some token. */
export function isReason(error: unknown): error is CancellationError {
  return error instanceof Error && 'kind' in error && REASONS.some((Each) => error instanceof Each)
}

/** What a client is told, as a reply of its own and in the last record of a stream. */
export function describeReason(reason: CancellationError) {
  const { statusCode = 500, code, message, kind, retryable, started } = reason
  return {
    statusCode,
    code,
    error: STATUS_CODES[statusCode],
    message,
    reason: kind,
    retryable,
    started
  }
}

/** What goes through a SharedArrayBuffer, and `revive` makes an error of again. */
export type ReasonData = Pick<CancellationError, 'kind' | 'message' | 'started'>

export function revive({ kind, message, started }: ReasonData): CancellationError {
  if (kind === 'client') return clientGone()
  if (kind === 'shutdown') return shuttingDown(started)
  if (kind === 'deadline') return deadlinePassed(started)
  return cancelledBecause(message)
}
