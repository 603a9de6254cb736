import { readiness } from '@muster/readiness'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { setTimeout as pause } from 'node:timers/promises'
import { clusterPrimary, type ClusterPrimaryOptions } from './cluster-primary.ts'
import { UncleanShutdownError } from './errors.ts'
import { type Cut, InFlight } from './in-flight.ts'
import { readOptions } from './options.ts'
import { onProcessEnd } from './process-end.ts'

export { clusterPrimary, type ClusterPrimaryOptions }

export interface ShutdownOptions {
  /**
   * ms from the withdrawal to the soft point, in which traffic is still served.
   * A SIGINT from a terminal and a second signal skip it.
   * @default 5000 under Kubernetes, else 0
   */
  drainDelay?: number | undefined
  /** ms from the end of the drain delay to the hard point, where what is still in flight is cut. @default 25000 − drainDelay */
  grace?: number | undefined
  /** ms from the hard point to the exit, for `onClose` hooks. @default 3000 */
  closing?: number | undefined
  /** Signals that begin the shutdown. @default ['SIGTERM', 'SIGINT'] */
  signals?: ShutdownSignal[] | undefined
}

export type ShutdownSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGQUIT' | 'SIGUSR2'

export type ShutdownState = 'running' | 'draining' | 'closing' | 'closed'

export interface Shutdown {
  /** Withdraws, drains, closes and exits the process, as a signal does. Calls after the first change nothing. */
  (reason?: string): void
  readonly state: ShutdownState
  /** Requests being answered. */
  readonly inFlight: number
}

declare module 'fastify' {
  interface FastifyInstance {
    shutdown: Shutdown
  }
}

const SWEEP_INTERVAL = 50
/** ms that a client has to finish sending a request, which will be answered 503. */
const HALF_REQUEST_GRACE = 1_000
/** ms between the hard cancellation and the cut, in which a request can still be answered. */
const LAST_WORDS = 100
/** ms that a start-up which is interrupted may take to end. */
const START_UP_LIMIT = 2_000
const GRACE_AFTER_CRASH = 1_000

async function plugin(app: FastifyInstance, input: ShutdownOptions): Promise<void> {
  const options = readOptions(input, process.env)
  if (!app.hasDecorator('readiness')) await app.register(readiness)

  const inFlight = new InFlight()
  const hurry = new AbortController()
  const failures: string[] = []
  let state: ShutdownState = 'running'
  let cuts: Cut[] = []
  /** When the grace is over, by `performance.now()`. */
  let hardAt: number | undefined
  const graceOver = new AbortController()
  let softAt = Infinity
  let sweeping: NodeJS.Timeout | undefined
  let hardPoint: NodeJS.Timeout | undefined
  let lastWords: NodeJS.Timeout | undefined
  let listened = app.server.listening

  const budget = options.drainDelay + options.grace + options.closing
  if (budget > options.platformLimit) {
    const plan = `drainDelay ${options.drainDelay} + grace ${options.grace} + closing ${options.closing}`
    app.log.warn(
      { budget, limit: options.platformLimit },
      `the shutdown may take ${budget} ms (${plan}), but the platform kills after ${options.platformLimit} ms`
    )
  }

  const processEnd = onProcessEnd({
    signals: options.signals,
    budget,
    end,
    onHurry(signal) {
      app.log.warn({ signal }, 'second signal: the drain delay is over')
      hurry.abort()
    },
    onTimeout: () => app.log.error({ inFlight: inFlight.size }, 'the budget is over: exiting'),
    onFurtherError(err) {
      if (isEndOfBoot(err)) return
      failures.push('another error that nobody caught')
      logCrash(err)
    }
  })

  app.decorate('shutdown', createShutdown())
  app.addHook('onRequest', inFlight.track)
  app.server.on('connection', inFlight.connected)
  app.server.once('listening', () => (listened = true))
  app.addHook('preClose', async () => {
    softPoint()
  })
  app.addHook('onClose', async () => {
    state = 'closed'
    clearInterval(sweeping)
    clearTimeout(hardPoint)
    clearTimeout(lastWords)
    processEnd.uninstall()
  })

  function createShutdown(): Shutdown {
    const shutdown = (reason = 'app.shutdown()'): void => processEnd.begin(reason)
    return Object.defineProperties(shutdown, {
      state: { get: () => state, enumerable: true },
      inFlight: { get: () => inFlight.size, enumerable: true }
    }) as Shutdown
  }

  async function end({ cause, err }: { cause: string; err?: unknown }): Promise<void> {
    const start = performance.now()
    const pending = inFlight.size
    const hurried = err !== undefined || (cause === 'SIGINT' && process.stdin.isTTY)
    const delay = hurried ? 0 : options.drainDelay
    const grace = err !== undefined ? Math.min(options.grace, GRACE_AFTER_CRASH) : options.grace
    hardAt = start + delay + grace
    if (err !== undefined) {
      failures.push(cause)
      logCrash(err)
    }
    await drain(cause, delay)
    const drained = performance.now()
    await close()
    const took = {
      drain: Math.round(drained - start),
      close: Math.round(performance.now() - drained)
    }
    const summary = `shut down by ${cause}: ${pending} requests were in flight, ${cuts.length} were cut`
    app.log.info({ cause, cuts, took }, summary)
    if (cuts.length > 0) failures.push(`${cuts.length} requests were cut`)
    if (failures.length > 0) throw new UncleanShutdownError(failures.join(', '))
  }

  function logCrash(err: unknown): void {
    app.log.fatal({ err }, 'an error that nobody caught')
    // An app without a logger has one that says nothing, and Node would have printed the error.
    if (!('level' in app.log)) console.error(err)
  }

  async function drain(cause: string, delay: number): Promise<void> {
    if (state !== 'running') return
    state = 'draining'
    inFlight.sendLastReplies()
    const served = pause(delay, undefined, { signal: hurry.signal }).catch(() => {})
    await Promise.all([app.readiness.drain(cause), served])
  }

  async function close(): Promise<void> {
    softPoint()
    await inFlight.elsewhere(graceOver.signal)
    try {
      await (listened ? app.close() : closeBeforeListening())
    } catch (err) {
      app.log.error({ err }, 'closing failed')
      failures.push('closing failed')
    }
  }

  /** Closed while it loads, Fastify waits for the plugins, and for ever if a route or hook was added meanwhile. */
  async function closeBeforeListening(): Promise<void> {
    const late = await Promise.race([app.close(), pause(START_UP_LIMIT, 'late' as const)])
    if (late)
      app.log.warn(`the start-up did not end within ${START_UP_LIMIT} ms: exiting all the same`)
  }

  function softPoint(): void {
    if (state === 'closing') return
    state = 'closing'
    inFlight.sendLastReplies()
    cancel('soft')
    softAt = performance.now()
    hardPoint = setTimeout(endGrace, Math.max(0, (hardAt ?? softAt + options.grace) - softAt))
    sweep()
    sweeping = setInterval(sweep, SWEEP_INTERVAL)
  }

  function sweep(): void {
    // HTTP/2 servers lack it; Fastify closes their sessions.
    app.server.closeIdleConnections?.()
    inFlight.closeUnused({ begun: performance.now() > softAt + HALF_REQUEST_GRACE })
  }

  function endGrace(): void {
    cancel('hard')
    lastWords = setTimeout(cut, LAST_WORDS)
  }

  function cut(): void {
    graceOver.abort()
    cuts = inFlight.cut()
    if (cuts.length === 0) return
    app.log.warn({ cuts }, `the grace is over: ${cuts.length} requests are cut`)
  }

  /** `@muster/cancellation`, where it is registered. */
  function cancel(point: 'soft' | 'hard'): void {
    if (!app.hasDecorator('cancellation')) return
    const { cancellation } = app as unknown as {
      cancellation: { shutdown(point: string): unknown }
    }
    void cancellation.shutdown(point)
  }
}

/** What `listen()` rejects with when the end began before it was done; few programs catch that. */
function isEndOfBoot(err: unknown): boolean {
  const codes: unknown[] = ['FST_ERR_REOPENED_CLOSE_SERVER', 'MUSTER_ERR_WARMUP_STOPPED']
  return err instanceof Error && 'code' in err && codes.includes(err.code)
}

export const shutdown = fp(plugin, { name: '@muster/shutdown', fastify: '5.x' })
export default shutdown
