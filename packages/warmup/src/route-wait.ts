import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction, RouteOptions } from 'fastify'
import type { Readiness } from '@muster/readiness'
import { WarmingUpError } from './errors.ts'
import { readRouteConfig } from './options.ts'
import { retryAfter, type Task } from './task.ts'
import type { TaskGraph } from './task-graph.ts'
import { within } from './within.ts'

interface Wait {
  tasks: Task[]
  /** ms */
  limit: number
  /** The traffic gate lets the route pass while starting so that it can wait: for what the gate waits for, too. */
  gated: boolean
}

const WAIT = Symbol('muster.warmup.wait')

/** Lets routes with `config.warmup` wait for their tasks, and answers 503 where these are not done in time. */
export function routeWait(graph: TaskGraph, readiness: Readiness, server: { listening: boolean }) {
  let routes = 0
  return { onRoute, onRequest }

  function onRoute(options: RouteOptions): void {
    const { config } = options
    if (config?.warmup === undefined && config?.warmupWait === undefined) return
    // The HEAD route that comes with a GET route has the config of that.
    if (WAIT in config) return
    const { warmup, warmupWait } = readRouteConfig(options.url, config)
    const tasks = warmup.map((name) => graph.task(name))
    const wait: Wait = { tasks, limit: warmupWait, gated: config.readiness === undefined }
    options.config = Object.assign(
      { ...config, readiness: config.readiness ?? ('starting' as const) },
      { [WAIT]: wait }
    )
    routes += 1
  }

  function onRequest(
    request: FastifyRequest,
    reply: FastifyReply,
    done: HookHandlerDoneFunction
  ): void {
    const wait = routes > 0 && (request.routeOptions.config as { [WAIT]?: Wait })[WAIT]
    if (!wait || (wait.tasks.every((task) => task.done) && !isShut(wait))) return done()
    open(wait).then(
      // oxlint-disable-next-line promise/no-callback-in-promise -- an async hook would delay the routes that do not wait
      () => done(),
      () => refuse(wait, reply)
    )
  }

  async function open(wait: Wait): Promise<void> {
    const end = new AbortController()
    const opening = Promise.all(wait.tasks.map((task) => task.complete())).then(async () => {
      if (isShut(wait)) await readiness.whenReady({ signal: end.signal })
    })
    try {
      await within(opening, { timeout: wait.limit })
    } finally {
      end.abort()
    }
  }

  /** Nothing is gated where nothing listens. */
  function isShut({ gated }: Wait): boolean {
    return gated && server.listening && readiness.state === 'starting'
  }

  /** As the traffic gate does: it replies rather than throws, so that a start does not fill the log with stacks. */
  function refuse({ tasks }: Wait, reply: FastifyReply): void {
    const missing = tasks.filter((task) => !task.done)
    const { code, statusCode, message } = new WarmingUpError(
      missing.map(({ name }) => name).join(', ') || 'the service'
    )
    const body = { statusCode, code, error: 'Service Unavailable', message }
    void reply
      .code(503)
      .header('retry-after', retryAfter(Math.max(0, ...missing.map(({ estimate }) => estimate))))
      .type('application/json; charset=utf-8')
      .send(JSON.stringify(body))
  }
}
