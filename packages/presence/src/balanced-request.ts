import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Balancer } from './balancer.ts'
import { NoInstanceError } from './errors.ts'
import type { Instance } from './instance.ts'
import { RequestBody } from './request-body.ts'

type Controller = Dispatcher.DispatchController
type Dispatch = Dispatcher['dispatch']

const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']
/** Codes of a 503 that was answered before anything was done. */
const NOT_STARTED = ['MUSTER_ERR_WARMING_UP', 'MUSTER_ERR_UNREADY']
/** A refusal is short: what is longer is an answer for the caller. */
const LONGEST_REFUSAL = 4_096

interface Refusal {
  status: number
  headers: IncomingHttpHeaders
  message: string | undefined
  body: Buffer[]
  bytes: number
}

/** One request, until an instance has answered it. */
export class BalancedRequest implements Dispatcher.DispatchHandler {
  readonly #dispatch: Dispatch
  readonly #options: Dispatcher.DispatchOptions
  readonly #handler: Dispatcher.DispatchHandler
  readonly #balancer: Balancer
  readonly #body: RequestBody
  readonly #tried = new Set<string>()
  readonly #service: string
  readonly #deadline: number
  #instance: Instance | undefined
  #refusal: Refusal | undefined
  #answered = false

  constructor(
    dispatch: Dispatch,
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
    { balancer, service, wait }: { balancer: Balancer; service: string; wait: number }
  ) {
    this.#dispatch = dispatch
    this.#options = options
    this.#handler = handler
    this.#balancer = balancer
    this.#service = service
    this.#body = new RequestBody(options.body)
    this.#deadline = performance.now() + wait
  }

  /** Sends it to an instance that was not tried yet; without one hands on `failure`. Never rejects. */
  async attempt(failure?: () => void): Promise<void> {
    const instance = await this.#balancer.pick(this.#tried, this.#deadline)
    if (!instance?.url) {
      if (failure) return failure()
      return this.#handler.onResponseError?.(NO_CONTROLLER, new NoInstanceError(this.#service))
    }
    const { origin, pathname } = new URL(instance.url)
    this.#instance = instance
    this.#tried.add(instance.incarnation)
    this.#balancer.begin(instance)
    const path = pathname.replace(/\/$/, '') + this.#options.path
    try {
      this.#dispatch({ ...this.#options, origin, path, body: this.#body.value ?? null }, this)
    } catch (error) {
      this.#end()
      this.#handler.onResponseError?.(NO_CONTROLLER, error as Error)
    }
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.#handler.onRequestStart?.(controller, context)
  }

  onRequestUpgrade(
    controller: Controller,
    status: number,
    headers: IncomingHttpHeaders,
    socket: Duplex
  ): void {
    this.#end()
    this.#handler.onRequestUpgrade?.(controller, status, headers, socket)
  }

  onResponseStart(
    controller: Controller,
    status: number,
    headers: IncomingHttpHeaders,
    message?: string
  ): void {
    if (status === 503 && this.#body.sendable) {
      this.#refusal = { status, headers, message, body: [], bytes: 0 }
      return
    }
    this.#answered ||= status >= 200
    this.#handler.onResponseStart?.(controller, status, headers, message)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    const refusal = this.#refusal
    if (!refusal) return this.#handler.onResponseData?.(controller, chunk)
    refusal.body.push(chunk)
    refusal.bytes += chunk.byteLength
    if (refusal.bytes > LONGEST_REFUSAL) this.#pass(controller, refusal)
  }

  onResponseEnd(controller: Controller, trailers: IncomingHttpHeaders): void {
    this.#end()
    const refusal = this.#refusal
    if (!refusal) return this.#handler.onResponseEnd?.(controller, trailers)
    const pass = (): void => {
      this.#pass(controller, refusal)
      this.#handler.onResponseEnd?.(controller, trailers)
    }
    if (!this.#isSafeAfter(refusal)) return pass()
    this.#refusal = undefined
    void this.attempt(pass)
  }

  onResponseError(controller: Controller, error: Error): void {
    this.#end()
    const fail = (): void => this.#handler.onResponseError?.(controller, error)
    const safe = neverConnected(error) || (this.#idempotent && !controller?.aborted)
    if (this.#answered || !safe || !this.#body.sendable) return fail()
    this.#refusal = undefined
    void this.attempt(fail)
  }

  get #idempotent(): boolean {
    return IDEMPOTENT.includes(this.#options.method.toUpperCase())
  }

  #isSafeAfter({ body }: Refusal): boolean {
    if (this.#idempotent) return true
    try {
      const { code, started } = JSON.parse(Buffer.concat(body).toString()) as Record<
        string,
        unknown
      >
      return (
        NOT_STARTED.some((one) => one === code) ||
        (code === 'MUSTER_ERR_SHUTDOWN' && started === false)
      )
    } catch {
      return false
    }
  }

  /** It is for the caller after all. */
  #pass(controller: Controller, { status, headers, message, body }: Refusal): void {
    this.#refusal = undefined
    this.#answered = true
    this.#handler.onResponseStart?.(controller, status, headers, message)
    for (const chunk of body) this.#handler.onResponseData?.(controller, chunk)
  }

  #end(): void {
    if (this.#instance) this.#balancer.end(this.#instance)
    this.#instance = undefined
  }
}

/** For errors before there is a connection. */
const NO_CONTROLLER: Controller = {
  aborted: false,
  paused: false,
  reason: null,
  abort() {},
  pause() {},
  resume() {}
}

function neverConnected(error: Error & { code?: unknown; syscall?: unknown }): boolean {
  const { code, syscall } = error
  return (
    code === 'ECONNREFUSED' ||
    code === 'UND_ERR_CONNECT_TIMEOUT' ||
    syscall === 'connect' ||
    syscall === 'getaddrinfo'
  )
}
