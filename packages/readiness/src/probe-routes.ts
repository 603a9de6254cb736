import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isVerbose, type Probe } from './probe-answers.ts'

/** In a route's config: the handler that the traffic gate runs before any hook of the application. */
export const PROBE = Symbol('muster.readiness.probe')

export type ProbeHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply

/** Adds the probes as routes, and returns where they are. */
export function addProbeRoutes(app: FastifyInstance, probes: Map<string, Probe>): string[] {
  for (const [url, probe] of probes) {
    const handler: ProbeHandler = (request, reply) => {
      const { status, headers, body } = probe(isVerbose(request.url, request.headers.accept))
      return reply.code(status).headers(headers).send(body)
    }
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
  return [...probes.keys()].map((path) => app.prefix + path)
}
