import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { OptionError } from '@muster/options'
import { advertisedUrl, type AdvertisedParts } from './advertised-url.ts'
import type { CheckFunction, CheckOptions, CheckReport } from './check.ts'
import { clusterWorker } from './cluster-worker.ts'
import { createIdentity, type Identity } from './identity.ts'
import {
  type Logger,
  Notifications,
  type NotifiedService,
  notifiedService,
  type Notifier,
  type NotifierSession
} from './notifier.ts'
import { readOptions } from './options.ts'
import {
  PRESSURE_CHECK,
  pressureCheck,
  type PressureOptions,
  registerUnderPressure
} from './pressure.ts'
import { createProbes, type Probe } from './probe-answers.ts'
import { listenForProbes, type ProbeListener } from './probe-listener.ts'
import { addProbeRoutes } from './probe-routes.ts'
import { ProbeToken, selfProbe, selfProbeInCluster } from './self-probe.ts'
import { type Hold, type ReadinessReport, ServiceReadiness } from './service-readiness.ts'
import type { ChangeListener, ReadinessState, StateChange } from './state-machine.ts'
import type { TimelineEntry } from './timeline.ts'
import { trafficGate } from './traffic-gate.ts'

export { advertisedUrl, type AdvertisedParts }
export { redact } from './redact.ts'
export type { ChangeListener, CheckFunction, CheckOptions, CheckReport, Identity }
export type { Hold, Logger, NotifiedService, Notifier, NotifierSession, PressureOptions }
export type { ReadinessReport, ReadinessState, StateChange, TimelineEntry }

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
  /** Serves the probe routes on a port of their own instead of the application's. @default none; `host` is localhost */
  listener?: { port: number; host?: string | undefined } | undefined
  /**
   * Registers `@fastify/under-pressure` with these limits; pressure that lasts makes the service unready.
   * `false`: also where the application has registered it, pressure does not count.
   * @default what the application has registered counts
   */
  pressure?: PressureOptions | false | undefined
  /**
   * Whom to tell: from `@muster/readiness/notify`, or your own.
   * @default [markerFile(), systemd(), s6(), pm2(), clusterMember()], those of them that are present
   */
  notify?: Notifier[] | undefined
  /** What happens at `failed`: the app is closed and `process.exitCode` is 1, or it stays for inspection. @default 'close' */
  onFailed?: 'close' | 'stay' | undefined
  /** ms that all `onDrain` steps together may take. @default 3000 */
  withdrawTimeout?: number | undefined
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
    /** `false`: the traffic gate lets requests to this route pass; `'starting'`: while starting, because it waits itself. */
    readiness?: false | 'starting' | undefined
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
  const { machine, life, timeline, identity } = readiness
  const notifications = new Notifications(app.log)
  const probes = options.routes ? createProbes(options.routes, readiness) : new Map<string, Probe>()
  const token = new ProbeToken()
  const ownPath = options.listener || !options.routes ? undefined : options.routes.live
  let listener: ProbeListener | undefined

  machine.on((change) => notifications.tell(change))
  machine.on(({ state, previous, cause }) => {
    const level = state === 'failed' ? 'error' : state === 'unready' ? 'warn' : 'info'
    const first = state === 'ready' && previous === 'starting'
    app.log[level]({ state, previous }, first ? timeline.complete() : `${state}: ${cause}`)
    if (state === 'failed' && options.onFailed === 'close') closeFailed()
  })
  readiness.onDrain('notifiers', () => notifications.settled())

  app.decorate('readiness', readiness)
  const probeRoutes = options.listener ? [] : addProbeRoutes(app, probes)
  app.addHook('onRequest', trafficGate(app.server, machine, token, options.gate, probeRoutes))
  if (options.pressure) await registerUnderPressure(app, options.pressure)

  app.addHook('onListen', async () => {
    // Closing during start-up can run this hook after onClose.
    if (life.signal.aborted) return
    timeline.addPlugins(app.printPlugins())
    const pressure = options.pressure === false ? undefined : pressureCheck(app)
    if (pressure) readiness.addCheck('under-pressure', { ...PRESSURE_CHECK, check: pressure })
    notifications.start(
      options.notify,
      notifiedService(machine, { identity, log: app.log, fail, shutDown })
    )
    readiness.start()
    if (options.listener) void serveProbes(options.listener)
    if (options.probe === false) readiness.probePassed()
    else void probe(options.probe)
  })
  app.addHook('preClose', async () => {
    await readiness.drain('app.close()')
  })
  app.addHook('onClose', async () => {
    notifications.close()
    listener?.close()
  })

  /** Never rejects. */
  async function probe(how: 'tcp' | { path?: string | undefined; timeout: number }): Promise<void> {
    const { timeout, path = ownPath } = how === 'tcp' ? { timeout: 1_000 } : how
    const through = {
      tls: 'https' in app.initialConfig && Boolean(app.initialConfig.https),
      http2: app.initialConfig.http2 === true,
      path: how === 'tcp' ? undefined : path,
      timeout,
      token,
      signal: life.signal,
      onFailure: (error: Error) => readiness.probeFailed(error.message)
    }
    try {
      await (clusterWorker() ? selfProbeInCluster : selfProbe)(app, through)
      readiness.probePassed()
    } catch (error) {
      // No later attempt will succeed: there is no use in waiting for the timeout.
      if (!life.signal.aborted) fail((error as Error).message)
    }
  }

  /** Never rejects. */
  async function serveProbes(address: { port: number; host: string }): Promise<void> {
    machine.block('probe listener', 'not listening yet')
    try {
      listener = await listenForProbes(address, probes, life.signal)
      app.log.info({ port: listener.port }, `probes are answered on port ${listener.port}`)
      machine.unblock('probe listener', 'the probes are answered')
    } catch (error) {
      if (!life.signal.aborted) fail(`the probe listener: ${(error as Error).message}`)
    }
  }

  function fail(cause: string): void {
    readiness.fail(cause)
  }

  /** By `@muster/shutdown`, where it is registered. */
  function shutDown(reason: string): void {
    if (app.hasDecorator('shutdown')) {
      const { shutdown } = app as unknown as { shutdown: (reason: string) => void }
      return shutdown(reason)
    }
    close()
  }

  function closeFailed(): void {
    process.exitCode = 1
    close()
  }

  function close(): void {
    void app.close().then(undefined, (err) => app.log.error({ err }, 'closing failed'))
  }
}

export const readiness = fp(plugin, { name: '@muster/readiness', fastify: '5.x' })
export default readiness
