import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { PROBE, type ProbeHandler } from './probe-routes.ts'
import { ProbeToken } from './self-probe.ts'
import type { StateMachine } from './state-machine.ts'

const RETRY_AFTER_SECONDS = '1'
const WARMING_UP = refusal('MUSTER_ERR_WARMING_UP', 'The service is starting, try again shortly')
const UNREADY = refusal('MUSTER_ERR_UNREADY', 'The service is not ready, try again shortly')

function refusal(code: string, message: string): string {
  return JSON.stringify({ statusCode: 503, code, error: 'Service Unavailable', message })
}

/**
 * An onRequest hook that answers 503 while the service must not be used, and recognises the self-probe.
 * It also answers the probe routes, ahead of every hook that was added later.
 * It replies rather than throws, so that a start under traffic does not fill the log with stacks.
 * Where nothing listens (`inject`) nothing is gated.
 * @param probes where the probe routes are
 */
export function trafficGate(
  server: { listening: boolean },
  machine: StateMachine,
  token: ProbeToken,
  gate: boolean | 'strict',
  probes: string[]
) {
  return function onRequest(
    request: FastifyRequest,
    reply: FastifyReply,
    done: HookHandlerDoneFunction
  ): void {
    // The route's options are dear to ask for, and a service is ready nearly always.
    if (machine.state === 'ready' && !isProbe(request.raw.url)) return done()
    const config = request.routeOptions.config as {
      [PROBE]?: ProbeHandler
      readiness?: false | 'starting'
    }
    const probe = config[PROBE]
    if (machine.state === 'ready' && !probe) return done()
    const self = token.isAsk(request.headers[ProbeToken.header])
    if (self) void reply.header(ProbeToken.header, token.answer)
    if (probe) return void probe(request, reply)
    if (self || isOpen() || !server.listening || isExempt(config.readiness)) return done()
    void reply
      .code(503)
      .header('retry-after', RETRY_AFTER_SECONDS)
      .type('application/json; charset=utf-8')
      .send(machine.state === 'starting' ? WARMING_UP : UNREADY)
  }

  function isProbe(url = ''): boolean {
    return probes.some((probe) => url.startsWith(probe))
  }

  function isExempt(readiness: false | 'starting' | undefined): boolean {
    return readiness === false || readiness === machine.state
  }

  function isOpen(): boolean {
    if (gate === false) return true
    if (machine.state === 'unready') return gate !== 'strict'
    return machine.state === 'draining' && machine.started
  }
}
