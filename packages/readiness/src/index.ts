import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { OptionError } from '@muster/options'
import type { CheckFunction, CheckOptions, CheckReport } from './check.ts'
import { createIdentity, type Identity } from './identity.ts'
import { readOptions } from './options.ts'
import { addProbeRoutes } from './probe-routes.ts'
import { ProbePathError } from './errors.ts'
import { ProbeToken, selfProbe } from './self-probe.ts'
import { ServiceReadiness } from './service-readiness.ts'
import type { ChangeListener, ReadinessState, StateChange } from './state-machine.ts'
import type { TimelineEntry } from './timeline.ts'
import { trafficGate } from './traffic-gate.ts'

export type { ChangeListener, CheckFunction, CheckOptions, CheckReport, Identity }
export type { ReadinessState, StateChange, TimelineEntry }

export interface ReadinessOptions {
  /** Name of the service, a slug. @default the name in the nearest package.json */
  service?: string | undefined
  /** Name of this replica. @default `<hostname>-<pid>-<4 random>` */
  instanceId?: string | undefined
  /** Version of the service. @default the version in the nearest package.json */
  version?: string | undefined
  /** ms from listening to ready; then the state is `failed`. @default 30000 */
  timeout?: number | undefined
  /**
   * How the service finds out that it answers: GET `path` on each bound address, with `timeout` ms for an attempt;
   * `'tcp'`: a connection is enough; `false`: the application calls `declare()`.
   * @default GET the liveness route, or `'tcp'` where there is none
   */
  probe?: { path?: string | undefined; timeout?: number | undefined } | 'tcp' | false | undefined
  /** What the service needs, looked at in the background. @default {} */
  checks?: Record<string, CheckFunction | CheckOptions> | undefined
  /** Answers 503 on the application's routes until first ready; `'strict'`: whenever not ready. @default true */
  gate?: boolean | 'strict' | undefined
  /**
   * Paths of the probe routes, a prefix for all three, or `false` for none.
   * @default { live: '/livez', ready: '/readyz', startup: '/startupz' }
   */
  routes?:
    | { live?: string | undefined; ready?: string | undefined; startup?: string | undefined }
    | string
    | false
    | undefined
  /** What happens at `failed`: the app is closed and `process.exitCode` is 1, or it stays for inspection. @default 'close' */
  onFailed?: 'close' | 'stay' | undefined
  /** ms that all `onDrain` steps together may take. @default 3000 */
  withdrawTimeout?: number | undefined
}

/** Keeps the service from being ready until released. */
export interface Hold extends Disposable {
  readonly name: string
  release(): void
}

export interface ReadinessReport extends Identity {
  state: ReadinessState
  /** Why it is in this state. */
  cause: string
  /** Since when, ISO 8601. */
  since: string
  /** What keeps it from being ready, with the reason. */
  waitingFor: Record<string, string>
  checks: Record<string, CheckReport>
  /** What other plugins say of themselves: see `describe()`. */
  parts: Record<string, unknown>
  /** What start-up consisted of, until the service was ready for the first time. */
  timeline: TimelineEntry[]
}

export interface Readiness {
  readonly identity: Identity
  readonly state: ReadinessState
  /** Why it is in this state. */
  readonly cause: string
  /**
   * Resolves when the service is ready.
   * @throws MUSTER_ERR_READY_TIMEOUT when it failed, MUSTER_ERR_NOT_READY when it drains, or the signal's reason
   */
  whenReady(options?: { signal?: AbortSignal | undefined }): Promise<void>
  /**
   * Keeps the service from being ready, or makes it unready, until released.
   * @throws MUSTER_ERR_OPTION when another hold has this name
   */
  hold(name: string): Hold
  /** Where `probe` is `false`: says that the service answers. */
  declare(): void
  /**
   * Gives up for good: the state is `failed` at once, with `cause` and what was missing, and `onFailed` is done.
   * What was announced is taken back. Without effect once failed or draining.
   */
  fail(cause: string): void
  /**
   * Puts something of the start-up on the timeline, under a name of its own; the function that is returned ends it.
   * Without effect once the service was ready.
   */
  time(name: string): () => void
  /**
   * Announces the end: the state is `draining` at once, traffic is still served.
   * @returns when every `onDrain` step has ended or `withdrawTimeout` is over; never rejects
   */
  drain(cause?: string): Promise<void>
  /** Adds a step that takes back, when draining begins, what was announced outside; the signal ends it. */
  onDrain(name: string, withdraw: (signal: AbortSignal) => unknown): void
  /** Adds to the report what another plugin has to say of itself under `parts`. */
  describe(name: string, part: () => unknown): void
  /** What `?verbose` shows. */
  report(): ReadinessReport
  on(event: 'change', listener: ChangeListener): this
  off(event: 'change', listener: ChangeListener): this
}

declare module 'fastify' {
  interface FastifyInstance {
    readiness: Readiness
  }
  interface FastifyContextConfig {
    /** `false`: the traffic gate lets requests to this route pass. */
    readiness?: false | undefined
  }
}

async function plugin(app: FastifyInstance, input: ReadinessOptions): Promise<void> {
  const options = readOptions(input)
  if (app.hasDecorator('readiness')) {
    throw new OptionError(
      'readiness: already registered; register it once, before what stands on it'
    )
  }
  const readiness = new ServiceReadiness(createIdentity(options), options, app.log)
  const { machine, life, timeline } = readiness
  const token = new ProbeToken()
  const paths = options.routes

  app.decorate('readiness', readiness)
  app.addHook('onRequest', trafficGate(app.server, machine, token, options.gate))
  if (paths) addProbeRoutes(app, paths, readiness)
  machine.on(({ state, previous, cause }) => {
    const level = state === 'failed' ? 'error' : state === 'unready' ? 'warn' : 'info'
    const first = state === 'ready' && previous === 'starting'
    app.log[level]({ state, previous }, first ? timeline.complete() : `${state}: ${cause}`)
    if (state === 'failed' && options.onFailed === 'close') closeFailed()
  })

  app.addHook('onListen', async () => {
    // Closing during start-up can run this hook after onClose.
    if (life.signal.aborted) return
    timeline.addPlugins(app.printPlugins())
    readiness.start()
    if (options.probe === false) readiness.probePassed()
    else void probe(options.probe)
  })
  app.addHook('preClose', async () => {
    await readiness.drain('app.close()')
  })

  /** Never rejects. */
  async function probe(how: 'tcp' | { path?: string | undefined; timeout: number }): Promise<void> {
    const { timeout = 1_000, path = paths ? paths.live : undefined } = how === 'tcp' ? {} : how
    try {
      await selfProbe({
        addresses: app.addresses(),
        tls: 'https' in app.initialConfig && Boolean(app.initialConfig.https),
        http2: app.initialConfig.http2 === true,
        path: how === 'tcp' ? undefined : path,
        timeout,
        token,
        signal: life.signal,
        onFailure: (error) => readiness.probeFailed(error.message)
      })
      readiness.probePassed()
    } catch (error) {
      // No later attempt will succeed: there is no use in waiting for the timeout.
      if (error instanceof ProbePathError) readiness.fail(error.message)
    }
  }

  function closeFailed(): void {
    process.exitCode = 1
    void app.close().then(undefined, (err) => app.log.error({ err }, 'closing failed'))
  }
}

export const readiness = fp(plugin, { name: '@muster/readiness', fastify: '5.x' })
export default readiness
