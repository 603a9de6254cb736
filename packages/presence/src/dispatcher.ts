import { duration, parseOptions, v } from '@muster/options'
import { Agent, Dispatcher } from 'undici'
import { BalancedRequest } from './balanced-request.ts'
import { Balancer } from './balancer.ts'
import type { Presence } from './index.ts'

export interface DispatcherOptions {
  /** ms that a request waits for an instance when there is none. @default 3000 */
  wait?: number | undefined
  /** For the undici `Agent` that keeps the connections: TLS, timeouts. @default { connect: { timeout: 2000 } } */
  agent?: Agent.Options | undefined
}

const schema = v.strictObject({
  wait: v.optional(duration, 3_000),
  agent: v.optional(v.looseObject({}), { connect: { timeout: 2_000 } })
})

/**
 * An undici dispatcher that sends each request to a ready instance of `service`, whatever host its URL names: the less
 * busy of two. It leaves a draining or suspect instance at once, and tries another one where that is safe: when the
 * connection was refused, when a 503 says that nothing was done, and for idempotent methods until an answer begins.
 * `close()` or `destroy()` it like any dispatcher; it ends with the app as well.
 * @throws MUSTER_ERR_OPTION
 */
export function dispatcher(
  presence: Presence,
  service: string,
  options: DispatcherOptions = {}
): Dispatcher {
  return new ServiceDispatcher(presence, service, options)
}

class ServiceDispatcher extends Dispatcher {
  readonly #agent: Agent
  readonly #composed: Dispatcher
  readonly #life = new AbortController()

  constructor(presence: Presence, service: string, input: DispatcherOptions) {
    super()
    const { wait, agent } = parseOptions('dispatcher', schema, input)
    const balancer = new Balancer()
    this.#agent = new Agent(agent)
    this.#composed = this.#agent.compose((dispatch) => (options, handler) => {
      void new BalancedRequest(dispatch, options, handler, { balancer, service, wait }).attempt()
      return true
    })
    const events = presence.watch(service, { signal: this.#life.signal })
    balancer.follow(events).catch((error: Error) => this.destroy(error))
  }

  override dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler
  ): boolean {
    return this.#composed.dispatch(options, handler)
  }

  override close(): Promise<void>
  override close(callback: () => void): void
  override close(callback?: () => void): Promise<void> | void {
    this.#life.abort()
    return callback ? this.#agent.close(callback) : this.#agent.close()
  }

  override destroy(error?: Error | null): Promise<void>
  override destroy(callback: () => void): void
  override destroy(error: Error | null, callback: () => void): void
  override destroy(
    error?: Error | null | (() => void),
    callback?: () => void
  ): Promise<void> | void {
    this.#life.abort()
    if (typeof error === 'function') return this.#agent.destroy(error)
    if (callback) return this.#agent.destroy(error ?? null, callback)
    return this.#agent.destroy(error ?? null)
  }
}
