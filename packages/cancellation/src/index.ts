import type { ServerResponse } from 'node:http'
import { OptionError } from '@muster/options'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type CancellationError, type CancellationKind, TooEarlyError } from './errors.ts'
import { failureHandler } from './failure.ts'
import { LiveTokens, PHASES, type ShutdownPhase } from './live-tokens.ts'
import { readOptions, readRouteOptions, type RoutePolicy } from './options.ts'
import type { Cancellation, Token } from './token.ts'

export type { Cancellation, CancellationError, CancellationKind, ShutdownPhase }

// oxlint-disable-next-line typescript/no-empty-object-type
export interface CancellationOptions {}

export interface RouteCancellationOptions {
  /** When a shutdown cancels requests of this route: as the app starts to close, when the grace is over, or never. @default 'soft' */
  onShutdown?: ShutdownPhase | 'never' | undefined
}

export interface CancellationControl {
  /**
   * Cancels the requests in flight; `soft` those of routes that did not ask for later, `hard` those too that said so.
   * @returns when every signal has fired; never rejects
   */
  shutdown(phase: ShutdownPhase): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    cancellation: CancellationControl
  }
  interface FastifyRequest {
    readonly cancellation: Cancellation
  }
  interface FastifyContextConfig {
    cancellation?: RouteCancellationOptions | undefined
  }
}

const kResponse = Symbol('muster.response')
const kLate = Symbol('muster.late')
const kPolicy = Symbol('muster.policy')
const kToken = Symbol('muster.token')

interface Slots {
  [kResponse]?: ServerResponse
  [kLate]?: boolean
  [kPolicy]?: RoutePolicy
  [kToken]?: Token
}

async function plugin(app: FastifyInstance, input: CancellationOptions): Promise<void> {
  readOptions(input)
  if (app.hasDecorator('cancellation')) {
    throw new OptionError('cancellation: already registered; register it once, on the root')
  }
  const live = new LiveTokens()

  app.decorate('cancellation', { shutdown: (phase) => live.shutdown(phase) })
  app.decorateRequest('cancellation', {
    getter(this: FastifyRequest & Slots) {
      return (this[kToken] ??= createToken(this))
    }
  })
  app.addHook('onRequest', function keepResponse(request: FastifyRequest & Slots, reply, done) {
    request[kResponse] = reply.raw
    if (live.phase > 0) request[kLate] = true
    done()
  })
  app.addHook('onRoute', (route) => {
    route.errorHandler = failureHandler(route.errorHandler, reasonOf)
    if (route.config?.cancellation === undefined) return
    const policy = readRouteOptions(
      `${String(route.method)} ${route.url}`,
      route.config.cancellation
    )
    const keepPolicy = (request: FastifyRequest & Slots, _: unknown, done: () => void) => {
      request[kPolicy] = policy
      done()
    }
    route.onRequest = [keepPolicy, ...[route.onRequest ?? []].flat()]
  })
  app.addHook('preClose', async () => {
    await live.shutdown('soft')
  })

  function createToken(request: FastifyRequest & Slots): Token {
    const { raw, [kResponse]: response, [kPolicy]: policy, [kLate]: late = false } = request
    if (!response) throw new TooEarlyError()
    const patience = PHASES[policy?.onShutdown ?? 'soft']
    return live.create({ request: raw, response, patience, late })
  }

  /** Without making a token: who has not asked for one was not cancelled. */
  function reasonOf(request: FastifyRequest & Slots): CancellationError | undefined {
    return request[kToken]?.reason
  }
}

export const cancellation = fp(plugin, { name: '@muster/cancellation', fastify: '5.x' })
export default cancellation
