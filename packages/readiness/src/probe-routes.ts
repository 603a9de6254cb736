import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ServiceReadiness } from './service-readiness.ts'

export interface ProbePaths {
  live: string
  ready: string
  startup: string
}

/** In a route's config: the handler that the traffic gate runs before any hook of the application. */
export const PROBE = Symbol('muster.readiness.probe')

export type ProbeHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply

/**
 * Adds the probe routes. Bodies are plain text, or the report as JSON for `?verbose` and
 * `accept: application/health+json` (draft-inadarei-api-health-check).
 */
export function addProbeRoutes(
  app: FastifyInstance,
  paths: ProbePaths,
  readiness: ServiceReadiness
): void {
  const { machine } = readiness
  const live = answer(() => true, 'live')
  const ready = answer(() => machine.state === 'ready')
  const startup = answer(() => machine.started)
  add(paths.live, live)
  add(paths.ready, ready)
  add(paths.startup, startup)

  function add(url: string, handler: ProbeHandler): void {
    app.route({
      method: 'GET',
      url,
      logLevel: 'warn',
      // For @fastify/swagger and @fastify/under-pressure.
      schema: { hide: true } as object,
      config: { [PROBE]: handler, pressureHandler: () => {} } as object,
      handler
    })
  }

  function answer(passes: () => boolean, word?: string): ProbeHandler {
    return (request, reply) => {
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
