import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isBecauseOf } from './cause.ts'
import { type CancellationError, describeReason, isReason, NotCancelledError } from './errors.ts'
import { finish } from './record.ts'

type ErrorHandler<Thrown = unknown> = (
  this: FastifyInstance,
  error: Thrown,
  request: FastifyRequest,
  reply: FastifyReply
) => unknown

const RETRY_AFTER_SECONDS = '1'

/**
 * The error handler of every route. It turns what a handler threw because of the cancellation into its reason and
 * passes that, like any other error, to the handler that would have had it; only Fastify's own is replaced.
 * @param own the route's own error handler
 * @param reasonOf why a request is cancelled, if it is
 */
export function failureHandler(
  own: ErrorHandler<any> | undefined,
  reasonOf: (request: FastifyRequest) => CancellationError | undefined
): ErrorHandler {
  return function onFailure(thrown, request, reply) {
    const reason = reasonOf(request)
    const error = translate(thrown, reason)
    const cancelled = reason !== undefined && error === reason
    if (cancelled) setHeaders(reason, request, reply)
    if (own) return own.call(this, error, request, reply)
    if (cancelled && isFastifysOwn(request.server.errorHandler)) {
      return answer(reason, request, reply)
    }
    // Fastify passes what an error handler throws to the next one, but takes only an Error for an error.
    if (error instanceof Error) throw error
    return Promise.reject(error)
  }
}

function translate(thrown: unknown, reason: CancellationError | undefined): unknown {
  if (reason && isBecauseOf(thrown, reason)) return reason
  return isReason(thrown) ? new NotCancelledError({ cause: thrown }) : thrown
}

/** Handlers set by the application are bound to its instance, and a bound function's name says so. */
function isFastifysOwn(handler: { name: string }): boolean {
  return handler.name === 'defaultErrorHandler'
}

function setHeaders(reason: CancellationError, request: FastifyRequest, reply: FastifyReply): void {
  if (reason.kind !== 'shutdown') return
  void reply.header('retry-after', RETRY_AFTER_SECONDS)
  if (request.raw.httpVersionMajor === 1) void reply.header('connection', 'close')
}

function answer(reason: CancellationError, request: FastifyRequest, reply: FastifyReply): void {
  logCancelled(reason, request)
  if (reply.raw.headersSent) return finish(reply.raw, reason)
  void reply.code(reason.statusCode ?? 500)
  if (reason.kind === 'client') return
  // Neither the route's schema nor its serializer was made for this body.
  void reply
    .type('application/json; charset=utf-8')
    .serializer(String)
    .send(JSON.stringify(describeReason(reason)))
}

/** At info and without a stack: nothing is wrong with the service. */
export function logCancelled(reason: CancellationError, request: FastifyRequest): void {
  const { statusCode, code, kind, started, message } = reason
  request.log.info({ statusCode, code, reason: kind, started }, message)
}
