import { OptionError } from '@muster/options'
import { readiness } from '@muster/readiness'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { setTimeout as pause } from 'node:timers/promises'
import type { Eager, Run, RunContext, WaitOptions } from './eager.ts'
import { messageOf } from './redacted.ts'
import { WarmupFailedError, WarmupStoppedError } from './errors.ts'
import { readOptions } from './options.ts'
import { routeWait } from './route-wait.ts'
import type { Task } from './task.ts'
import { TaskGraph } from './task-graph.ts'
import type { TaskReport } from './task-progress.ts'
import { within } from './within.ts'

export { eager } from './eager.ts'
export { fatal } from './fatal.ts'
export type { Eager, Run, RunContext, TaskReport, WaitOptions }

export interface TaskOptions {
  /** Makes the value. Called at boot, and again after a failure; what it throws through `fatal()` ends that. */
  run: Run | Eager<unknown>
  /**
   * What waits for it: `'listen'`, the port is not bound before it is done; `'ready'`, the service is not ready
   * before; `false`, nothing. @default 'ready'
   */
  gate?: 'listen' | 'ready' | false | undefined
  /** Names of tasks that must be done before it begins. @default [] */
  after?: readonly string[] | undefined
  /** ms for one run, after which it has failed and its signal is aborted. @default 30000 */
  timeout?: number | undefined
  /**
   * ms between attempts: doubling from `min` to `max`, with full jitter; `false`: one attempt.
   * @default { min: 200, max: 5000 }
   */
  retry?: { min?: number | undefined; max?: number | undefined } | false | undefined
  /** Gives the value back, when the app closes or a refresh has replaced it. */
  dispose?: ((value: any) => unknown) | undefined
}

export interface WarmupOptions {
  /** What has to be made at boot; `run` alone stands for `{ run }`. */
  tasks: Record<string, TaskOptions | Run | Eager<unknown>>
  /** ms for all tasks with gate `'listen'` together, retries included; then the service fails. @default 60000 */
  deadline?: number | undefined
  /** `false`: nothing runs before it is asked for, and nothing waits; for tests. @default true */
  warmup?: boolean | undefined
}

/** The types of the values, by task: `declare module '@muster/warmup' { interface WarmupValues { tenants: Tenants } }` */
export interface WarmupValues {}

export type WarmupValue<Name extends string> = Name extends keyof WarmupValues
  ? WarmupValues[Name]
  : unknown

export interface Warmup {
  /**
   * The value of a task, or joins the attempt that is bringing it. Promises need not be awaited.
   * @throws what that attempt throws; MUSTER_ERR_WARMING_UP after `timeout`; the signal's reason;
   * MUSTER_ERR_WARMUP_STOPPED when the service goes; MUSTER_ERR_OPTION for an unknown name
   */
  get<Name extends string>(name: Name, options?: WaitOptions): Promise<WarmupValue<Name>>
  /** Makes the value anew, by one attempt that starts after this call; the present one serves until it succeeded. */
  refresh<Name extends string>(name: Name, options?: WaitOptions): Promise<WarmupValue<Name>>
  /** How far the tasks are; also in `app.readiness.report().parts.warmup`. */
  report(): Record<string, TaskReport>
}

declare module 'fastify' {
  interface FastifyInstance {
    warmup: Warmup
  }
  interface FastifyContextConfig {
    /** Tasks that must be done before the route is served; a request waits for them. */
    warmup?: readonly string[] | undefined
    /** ms a request waits, before it is answered with 503. @default 2000 */
    warmupWait?: number | undefined
  }
}

/** ms */
const LONGEST_TIMER = 2 ** 31 - 1

async function plugin(app: FastifyInstance, input: WarmupOptions): Promise<void> {
  const options = readOptions(input)
  if (app.hasDecorator('warmup')) {
    throw new OptionError('warmup: already registered; give all tasks to one registration')
  }
  if (!app.hasDecorator('readiness')) await app.register(readiness)

  const life = new AbortController()
  const graph = new TaskGraph(options.tasks, life.signal, app.log)
  const { onRoute, onRequest } = routeWait(graph, app.readiness, app.server)

  app.decorate('warmup', graph)
  app.addHook('onRoute', onRoute)
  app.addHook('onRequest', onRequest)
  app.readiness.describe('warmup', () => graph.report())
  app.readiness.on('change', ({ state, cause }) => {
    if (state === 'failed' || state === 'draining') life.abort(new WarmupStoppedError(cause))
  })
  app.addHook('onClose', async () => {
    await graph.dispose()
  })
  if (!options.warmup) return

  const gating = graph.tasks.filter(({ gate }) => gate === 'listen')
  const holds = new Map(
    graph.tasks
      .filter(({ gate }) => gate === 'ready')
      .map((task) => [task, app.readiness.hold(`warmup ${task.name}`)])
  )
  let boot: Promise<void> | undefined

  // Fastify limits each onReady hook by pluginTimeout, but not all of them together.
  const longest = options.deadline + graph.longestDisposal
  const { pluginTimeout = 0 } = app.initialConfig
  const part = Math.min(pluginTimeout > 0 ? pluginTimeout / 2 : longest, LONGEST_TIMER)
  const parts = gating.length > 0 ? Math.ceil(longest / part) : 1
  for (let i = 0; i < parts; i++) app.addHook('onReady', waitForBoot)

  async function waitForBoot(): Promise<void> {
    const end = new AbortController()
    // Its timer comes before a task that may block the event loop.
    const over = pause(part, undefined, { signal: end.signal }).catch(() => {})
    boot ??= start()
    boot.catch(() => {})
    await Promise.race([boot, over]).finally(() => end.abort())
  }

  async function start(): Promise<void> {
    for (const task of graph.tasks) void follow(task)
    try {
      const done = Promise.all(gating.map((task) => task.complete()))
      await within(done, { signal: life.signal, timeout: options.deadline, late })
    } catch (cause) {
      if (cause === life.signal.reason) throw cause
      const message = `refusing to listen: ${messageOf(cause)}`
      app.readiness.fail(message)
      await graph.dispose()
      throw new WarmupFailedError(message, { cause })
    }
  }

  /** Never rejects. */
  async function follow(task: Task): Promise<void> {
    const hold = holds.get(task)
    const end = hold ? () => hold.release() : app.readiness.time(`warmup ${task.name}`)
    try {
      await task.complete()
      end()
    } catch (error) {
      if (task.gate === 'ready') app.readiness.fail(messageOf(error))
    }
  }

  function late(): Error {
    const missing = gating.filter(({ done }) => !done).map((task) => task.missing)
    return new WarmupFailedError(`not done within ${options.deadline} ms: ${missing.join(', ')}`)
  }
}

export const warmup = fp(plugin, { name: '@muster/warmup', fastify: '5.x' })
export default warmup
