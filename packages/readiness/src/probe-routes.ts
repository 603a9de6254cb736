import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import type { ServiceReadiness } from './service-readiness.ts'

export interface ProbePaths {
  live: string
  ready: string
  startup: string
}

/**
 * Adds the probe routes in a context of their own, where hooks that the user adds later do not reach.
 * Bodies are plain text, or the report as JSON for `?verbose` and `accept: application/health+json`
 * (draft-inadarei-api-health-check).
 */
export async function probeRoutes(
  scope: FastifyInstance,
  { paths, readiness }: { paths: ProbePaths; readiness: ServiceReadiness }
): Promise<void> {
  const { machine } = readiness
  const options = {
    logLevel: 'warn',
    // For @fastify/swagger and @fastify/under-pressure.
    schema: { hide: true } as object,
    config: { readiness: false, pressureHandler: () => {} } as object
  } satisfies RouteShorthandOptions

  scope.get(
    paths.live,
    options,
    answer(() => true, 'live')
  )
  scope.get(
    paths.ready,
    options,
    answer(() => machine.state === 'ready')
  )
  scope.get(
    paths.startup,
    options,
    answer(() => machine.started)
  )

  function answer(passes: () => boolean, word?: string) {
    return (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
      const pass = passes()
      void reply.code(pass ? 200 : 503).header('cache-control', 'no-store')
      if (!wantsReport(request)) return reply.type('text/plain').send(word ?? machine.state)
      const body = { status: pass ? 'pass' : 'fail', ...readiness.report() }
      return reply.type('application/health+json').send(JSON.stringify(body))
    }
  }
}

function wantsReport({ query, headers: { accept = '' } }: FastifyRequest): boolean {
  return 'verbose' in (query as object) || accept.includes('application/health+json')
}
