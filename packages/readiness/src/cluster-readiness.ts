import { duration, parseOptions, slug, v } from '@muster/options'
import type { Cluster, Worker } from 'node:cluster'
import type { WorkerMessage } from './cluster-member.ts'
import { createIdentity, type Identity } from './identity.ts'
import { markerFile } from './marker-file.ts'
import { type Logger, Notifications, notifiedService, type Notifier } from './notifier.ts'
import { pm2 } from './pm2.ts'
import { markerDirectory, removeDeadMarkers } from './ready-marker.ts'
import { s6 } from './s6.ts'
import { type ChangeListener, type ReadinessState, StateMachine } from './state-machine.ts'
import { systemd } from './systemd.ts'

export interface ClusterReadinessOptions {
  /** How many workers there must be. */
  workers: number
  /** Name of the service, a slug. @default the name in the nearest package.json */
  service?: string | undefined
  /** ms to the first time that all are ready; then the state is `failed`. @default 30000 */
  timeout?: number | undefined
  /** Whom to tell. @default [markerFile(), systemd(), s6(), pm2()], those of them that are present */
  notify?: Notifier[] | undefined
  /** @default the console */
  log?: Logger | undefined
}

/** A cluster as a whole: ready while that many of its workers are. */
export interface ClusterReadiness {
  readonly identity: Identity
  readonly state: ReadinessState
  /** Why it is in this state. */
  readonly cause: string
  /** Resolves when all are ready. @throws MUSTER_ERR_READY_TIMEOUT, MUSTER_ERR_NOT_READY, or the signal's reason */
  whenReady(options?: { signal?: AbortSignal | undefined }): Promise<void>
  /** Announces the end; resolves when it has been told. */
  drain(cause?: string): Promise<void>
  on(event: 'change', listener: ChangeListener): void
  off(event: 'change', listener: ChangeListener): void
  /** Stops listening to the workers and takes the marker away. */
  close(): void
}

const BLOCKER = 'workers'

const consoleLog: Logger = {
  info: (_, message) => console.log(message),
  warn: (details, message) => console.warn(message, details),
  error: (details, message) => console.error(message, details)
}

const schema = v.strictObject({
  workers: v.pipe(v.number(), v.integer(), v.minValue(1)),
  service: v.optional(slug),
  timeout: v.optional(duration, 30_000),
  notify: v.optional(v.array(v.custom<Notifier>((given) => typeof given === 'object')), () => [
    markerFile(),
    systemd(),
    s6(),
    pm2()
  ]),
  log: v.optional(
    v.custom<Logger>((given) => typeof given === 'object'),
    consoleLog
  )
})

/**
 * Sums up, in the primary of a `node:cluster`, what the workers' readiness plugins say. Call it before forking.
 * The marker of a worker that died is removed.
 */
export function clusterReadiness(options: ClusterReadinessOptions): ClusterReadiness {
  const { workers, service, timeout, notify, log } = parseOptions(
    'clusterReadiness',
    schema,
    options
  )
  // Loaded by those who need it: it takes as long as a small package.
  const cluster = process.getBuiltinModule('node:cluster') as unknown as Cluster
  const identity = createIdentity({ service })
  const machine = new StateMachine((err) => log.error({ err }, 'a readiness listener failed'))
  const notifications = new Notifications(log)
  const ready = new Set<number>()
  const timer = setTimeout(fail, timeout, `not ready within ${timeout} ms`)

  machine.on((change) => notifications.tell(change))
  machine.on(({ state, cause }) => {
    if (state !== 'unready') clearTimeout(timer)
    log.info({ state }, `${state}: ${cause}`)
  })
  machine.block(BLOCKER, `0 of ${workers} are ready`)
  cluster.on('message', onMessage)
  cluster.on('disconnect', onGone)
  cluster.on('exit', onExit)
  const shutDown = (): void => void process.kill(process.pid, 'SIGTERM')
  notifications.start(notify, notifiedService(machine, { identity, log, fail, shutDown }))

  return {
    identity,
    get state() {
      return machine.state
    },
    get cause() {
      return machine.cause
    },
    whenReady: ({ signal } = {}) => machine.whenReady(signal),
    on: (_, listener) => machine.on(listener),
    off: (_, listener) => machine.off(listener),
    async drain(cause = 'drain()') {
      machine.drain(cause)
      await notifications.settled()
    },
    close
  }

  function onMessage({ id }: Worker, message: WorkerMessage | undefined): void {
    if (message?.type !== 'muster:readiness') return
    if (message.state === 'ready') ready.add(id)
    else ready.delete(id)
    judge(`worker ${id} is ${message.state}`)
  }

  function onGone({ id }: Worker): void {
    if (ready.delete(id)) judge(`worker ${id} is gone`)
  }

  function onExit(worker: Worker): void {
    onGone(worker)
    if (markerDirectory()) removeDeadMarkers({ service: identity.service })
  }

  function judge(news: string): void {
    if (ready.size >= workers) machine.unblock(BLOCKER, `${ready.size} workers are ready`)
    else machine.block(BLOCKER, `${ready.size} of ${workers} are ready, ${news}`)
  }

  function fail(cause: string): void {
    machine.fail(`${cause}: ${machine.waitingFor[BLOCKER] ?? ''}`)
  }

  function close(): void {
    clearTimeout(timer)
    machine.drain('close()')
    cluster.off('message', onMessage)
    cluster.off('disconnect', onGone)
    cluster.off('exit', onExit)
    notifications.close()
  }
}
