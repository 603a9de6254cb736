import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import { LoopError, UnknownServiceError } from './errors.ts'
import { problem } from './problem.ts'
import type { Roster } from './roster.ts'
import type { KeyCheck } from './service-key.ts'
import { askInTurn, endToEnd } from './run-proxy.ts'

interface RunRequest {
  Params: { id: string; '*': string }
}

export interface RunRoutesOptions {
  roster: Roster
  read: RouteShorthandOptions
  /** Whether a request's Bearer token is a key of the orchestrator. */
  opens: KeyCheck
  /** ms */
  timeout: number
}

/** `GET` and `HEAD <id>/run/<path>`: handed on to an instance of the service. */
export async function runRoutes(
  scope: FastifyInstance,
  { roster, read, opens, timeout }: RunRoutesOptions
): Promise<void> {
  const schema = { summary: 'Asks an instance of the service' } as object
  scope.route<RunRequest>({
    ...read,
    schema,
    method: ['GET', 'HEAD'],
    url: '/:id/run/*',
    handler: run
  })
  scope.route({
    method: ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
    url: '/:id/run/*',
    schema: { hide: true } as object,
    handler: (_, reply) =>
      problem(reply.header('allow', 'GET, HEAD'), 405, { detail: 'Only GET and HEAD go through' })
  })

  async function run(request: FastifyRequest<RunRequest>, reply: FastifyReply) {
    const { id } = request.params
    if (request.headers.via?.includes('muster-orchestrator')) throw new LoopError()
    const service = await roster.find(id)
    if (!service) throw new UnknownServiceError(id)
    const gone = new AbortController()
    reply.raw.once('close', () => gone.abort())

    const answer = await askInTurn(
      service.instances.toSorted(byStatus).map(({ url }) => url),
      {
        method: request.method === 'HEAD' ? 'HEAD' : 'GET',
        // As it came: what the router has decoded could mean something else.
        path: request.raw.url?.slice(request.raw.url.indexOf('/run/') + '/run'.length) ?? '/',
        headers: forwarded(request),
        timeout,
        signal: gone.signal
      }
    )
    return (
      reply
        .code(answer.statusCode ?? 502)
        .headers(endToEnd(answer.headers, ['set-cookie']))
        // What a service serves is not to act in the name of the orchestrator's origin.
        .header('content-security-policy', 'sandbox')
        .header('x-content-type-options', 'nosniff')
        .send(request.method === 'HEAD' ? undefined : answer)
    )
  }

  function forwarded({ headers, ip, host, protocol }: FastifyRequest): FastifyRequest['headers'] {
    const { authorization, ...others } = headers
    const isOurs = opens({ authorization })
    return {
      ...others,
      ...(authorization !== undefined && !isOurs && { authorization }),
      'x-forwarded-for': ip,
      'x-forwarded-host': host,
      'x-forwarded-proto': protocol
    }
  }
}

/** Live ones first, in any order, so that the load is spread. */
function byStatus(one: { status: string }, other: { status: string }): number {
  if (one.status === other.status) return Math.random() - 0.5
  return one.status === 'alive' ? -1 : 1
}
