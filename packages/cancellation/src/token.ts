import type { IncomingMessage, ServerResponse } from 'node:http'
import { type CancellationError, clientGone } from './errors.ts'
import { standing, whenOver } from './exchange.ts'

export interface Cancellation {
  /** Whether the request is cancelled now. */
  readonly cancelled: boolean
  /** Why; the first cause wins. */
  readonly reason: CancellationError | undefined
  /** Aborts with `reason`. Made when first read. */
  readonly signal: AbortSignal
  /** @throws the reason, if the request is cancelled */
  throwIfCancelled(): void
}

/** What all tokens of an app share about its end. */
export interface Shutdown {
  readonly phase: number
  readonly reasons: { started: CancellationError; late: CancellationError }
}

export interface TokenOptions {
  request: IncomingMessage
  response: ServerResponse
  shutdown: Shutdown
  /** The phase of the shutdown that cancels it. */
  patience: number
  /** Whether the request arrived after the shutdown had begun. */
  late: boolean
  /** Called when the request has ended. */
  onOver: (token: Token) => void
}

/** Cancels a token. Not a method, so that nobody who is handed a token can. */
export let cancel: (token: Token, reason: CancellationError) => void

export class Token implements Cancellation {
  readonly #options: TokenOptions
  #reason: CancellationError | undefined
  #controller: AbortController | undefined
  #over = false

  static {
    cancel = (token, reason) => token.#cancel(reason)
  }

  constructor(options: TokenOptions) {
    this.#options = options
    Object.freeze(this)
    const { request, response } = options
    if (standing(request, response) === 'open') whenOver(request, response, () => this.#end())
    else this.#end()
  }

  get cancelled(): boolean {
    return this.reason !== undefined
  }

  get reason(): CancellationError | undefined {
    // The clock and the phase are looked at, so that it is right between two turns of the event loop too.
    if (this.#reason === undefined && !this.#over) this.#look()
    return this.#reason
  }

  get signal(): AbortSignal {
    if (this.#controller) return this.#controller.signal
    this.#controller = new AbortController()
    if (this.reason) this.#controller.abort(this.#reason)
    return this.#controller.signal
  }

  throwIfCancelled(): void {
    if (this.reason) throw this.#reason
  }

  #look(): void {
    const { shutdown, patience, late } = this.#options
    if (shutdown.phase >= patience) {
      this.#cancel(late ? shutdown.reasons.late : shutdown.reasons.started)
    }
  }

  #cancel(reason: CancellationError): void {
    if (this.#reason || this.#over || this.#options.response.writableEnded) return
    this.#reason = reason
    this.#controller?.abort(reason)
  }

  #end(): void {
    if (this.#over) return
    const { request, response, onOver } = this.#options
    if (standing(request, response) === 'gone') this.#cancel(clientGone())
    this.#over = true
    onOver(this)
  }
}

Object.freeze(Token.prototype)
