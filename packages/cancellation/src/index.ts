import type { Worker } from 'node:worker_threads'
import { OptionError } from '@muster/options'
import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  onRequestHookHandler,
  preHandlerHookHandler,
  RouteOptions
} from 'fastify'
import fp from 'fastify-plugin'
import { callerTimeout } from './deadline.ts'
import { fetchUnder } from './downstream.ts'
import type { CancellationError, CancellationKind } from './errors.ts'
import { failureHandler } from './failure.ts'
import { LiveTokens, PHASES, type ShutdownPhase } from './live-tokens.ts'
import { readOptions, readRouteOptions } from './options.ts'
import { RequestTokens } from './request-tokens.ts'
import { runWorker } from './run-worker.ts'
import { finishRaw, watchReplies } from './streams.ts'
import type { Cancellation, SharedCancellation } from './token.ts'

export { fromShared } from './shared.ts'
export type { Cancellation, CancellationError, CancellationKind, SharedCancellation, ShutdownPhase }

const CEILING = 5_000

export interface CancellationOptions {
  /**
   * Takes a deadline from the caller: `x-request-timeout-ms`, `grpc-timeout`, `x-envoy-expected-rq-timeout-ms`,
   * `connect-timeout-ms`; the sooner wins. One that cannot be read is ignored. @default false
   */
  deadlineHeaders?: boolean | undefined
  /** ms that a deadline may be away at most, wherever it comes from. Sets none by itself. @default none */
  maxDeadline?: number | undefined
}

export interface RouteCancellationOptions {
  /**
   * When a shutdown cancels requests of this route: as the app starts to close, when the grace is over, or never.
   * @default 'soft'
   */
  onShutdown?: ShutdownPhase | 'never' | undefined
  /** ms from a request's arrival to its deadline. @default none */
  deadline?: number | undefined
}

export interface CancellationControl {
  /**
   * Cancels the requests in flight; `soft` those of routes that did not ask for later, `hard` those too that said so.
   * @returns when every signal has fired; never rejects
   */
  shutdown(phase: ShutdownPhase): Promise<void>
  /**
   * Cancels the request with this `request.id`, with 409 and `why` for its client.
   * @returns whether there was one in flight that had read its token
   */
  cancel(requestId: string, why: string): boolean
  /**
   * `fetch` on behalf of a request: aborted when that is cancelled, and told the remaining time, if there is a
   * deadline, in `x-request-timeout-ms`.
   */
  fetch(
    request: FastifyRequest,
    input: string | URL | Request,
    init?: RequestInit
  ): Promise<Response>
  /**
   * The first message of a worker thread, which was given `request.cancellation.share()`.
   * One that has not stopped by itself is terminated as `ceiling()` says.
   * @throws what the worker threw, or MUSTER_ERR_WORKER_ENDED
   */
  run<T>(
    worker: Worker,
    request: FastifyRequest,
    options?: { ceiling?: number | undefined }
  ): Promise<T>
  /**
   * Aborts when work that goes on though its request was cancelled has to be ended by force:
   * `ms` after the cancellation (5000), or at the hard point of a shutdown.
   */
  ceiling(request: FastifyRequest, ms?: number): AbortSignal
  /**
   * For a handler that writes to `reply.raw` by itself: ends the response with a last record when cancelled.
   * @param contentType where it cannot be read from the response, because it was given to `writeHead()`
   */
  finish(reply: FastifyReply, contentType?: string): Disposable
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

async function plugin(app: FastifyInstance, input: CancellationOptions): Promise<void> {
  const { deadlineHeaders, maxDeadline = Infinity } = readOptions(input)
  if (app.hasDecorator('cancellation')) {
    throw new OptionError('cancellation: already registered; register it once, on the root')
  }
  const live = new LiveTokens((err) => app.log.error({ err }, 'an onCancel listener failed'))
  const tokens = new RequestTokens(live)
  const { handlerTimeout: serverHandlerTimeout } = app.initialConfig as { handlerTimeout?: number }

  app.decorate('cancellation', {
    shutdown: (phase) => live.shutdown(phase),
    cancel: (requestId, why) => live.cancel(requestId, why),
    fetch: (request, url, init) => fetchUnder(request.cancellation, url, init),
    run: (worker, { cancellation }, { ceiling = CEILING } = {}) =>
      runWorker(worker, cancellation, live.ceiling(cancellation, ceiling)),
    ceiling: ({ cancellation }, ms = CEILING) => live.ceiling(cancellation, ms),
    finish: (reply, contentType) => finishRaw(tokens, reply, contentType)
  })
  app.decorateRequest('cancellation', {
    getter(this: FastifyRequest) {
      return tokens.of(this)
    }
  })
  watchReplies(app, tokens)
  app.addHook('onRequest', (request, reply, done) => {
    tokens.arrived(request, reply.raw)
    done()
  })
  app.addHook('onRoute', (route) => {
    route.errorHandler = failureHandler(route.errorHandler, (request) => tokens.reasonOf(request))
    acceptOnTerms(route)
    // @fastify/sse writes to reply.raw.
    if ('sse' in route) {
      route.onRequest = [...hooks(route.onRequest), finishEventStream]
    }
  })
  app.addHook('preClose', async () => {
    await live.shutdown('soft')
  })

  /** Requests of a route that says nothing about itself need no hook of their own. */
  function acceptOnTerms(route: RouteOptions): void {
    const name = `${String(route.method)} ${route.url}`
    const { onShutdown, deadline } = readRouteOptions(name, route.config?.cancellation)
    const terms = {
      patience: PHASES[onShutdown],
      handlerTimeout: Boolean(route.handlerTimeout ?? serverHandlerTimeout)
    }
    const timed = deadlineHeaders || deadline !== undefined
    if (!timed && onShutdown === 'soft' && !terms.handlerTimeout) return
    const accept: onRequestHookHandler = (request, _, done) => {
      const asked = deadlineHeaders ? callerTimeout(request.headers, malformed(request)) : Infinity
      const timeout = Math.min(deadline ?? Infinity, asked)
      tokens.accept(request, terms, timeout === Infinity ? timeout : Math.min(timeout, maxDeadline))
      done()
    }
    const refuse: preHandlerHookHandler = (request, _, done) => done(tokens.refusalOf(request))
    route.onRequest = [accept, ...hooks(route.onRequest)]
    if (timed) route.preHandler = [...hooks(route.preHandler), refuse]
  }

  function finishEventStream(_: FastifyRequest, reply: FastifyReply, done: () => void): void {
    finishRaw(tokens, reply)
    done()
  }
}

function malformed(request: FastifyRequest) {
  return (header: string, value: string) =>
    request.log.debug({ header, value }, 'a deadline header that cannot be read is ignored')
}

function hooks<Hook>(given: Hook | Hook[] | undefined): Hook[] {
  return given === undefined ? [] : ([given].flat() as Hook[])
}

export const cancellation = fp(plugin, { name: '@muster/cancellation', fastify: '5.x' })
export default cancellation
