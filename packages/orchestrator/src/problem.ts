import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'

const STORE_RETRY_SECONDS = '1'

/** Answers errors as problem details (RFC 9457), with the fields at fault. */
export function sendProblem(
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply
): FastifyReply {
  // The protocol's clients know a payload that is wrong as 422.
  const status = error.validation ? 422 : (error.statusCode ?? 500)
  // A store that is away says so itself, once; the rest is an answer, not an accident.
  if (status === 500) request.log.error({ err: error }, error.message)
  if (status === 401) void reply.header('www-authenticate', 'Bearer')
  if (status === 503) void reply.header('retry-after', STORE_RETRY_SECONDS)
  return problem(reply, status, {
    detail: status === 500 ? 'Something went wrong here' : error.message,
    code: error.validation ? 'MUSTER_ERR_PAYLOAD' : error.code,
    ...(error.validation && { errors: error.validation.map(fieldError) })
  })
}

export function problem(
  reply: FastifyReply,
  status: number,
  members: { detail: string; [member: string]: unknown }
): FastifyReply {
  return reply
    .code(status)
    .type('application/problem+json')
    .send(JSON.stringify({ title: STATUS_CODES[status], status, ...members }))
}

type ValidationIssue = NonNullable<FastifyError['validation']>[number]

function fieldError({ instancePath, params, message = 'is not valid' }: ValidationIssue) {
  const missing = params['missingProperty']
  const path = typeof missing === 'string' ? `${instancePath}/${missing}` : instancePath
  return { field: path.slice(1).replaceAll('/', '.'), message }
}
