import type { IncomingMessage, ServerResponse } from 'node:http'
import { type CancellationError, clientGone } from './errors.ts'
import { standing, whenOver } from './exchange.ts'
import { shareCancellation } from './shared.ts'
import { cancel, close, type SharedCancellation, Token } from './token.ts'

/** Where the tokens of an app are kept while their requests are in flight. */
export interface Registry {
  /** How far the shutdown of the app has come. */
  readonly phase: number
  readonly shutdownReasons: {
    readonly started: CancellationError
    readonly late: CancellationError
  }
  /** Keeps `token` and tells it its seat. */
  add(token: RequestToken): void
  free(seat: number): void
  listenerFailed(error: unknown): void
}

/** What is known of a request besides its message and response. */
export interface Circumstances {
  readonly id: string
  readonly registry: Registry
  /** The phase of the shutdown that cancels it. */
  readonly patience: number
  /** Whether it arrived after the shutdown had begun. */
  readonly late: boolean
  /** ms since the epoch. */
  readonly deadline: number | undefined
}

/** Tells a token where its registry keeps it. */
export let assignSeat: (token: RequestToken, seat: number) => void

export let idOf: (token: RequestToken) => string

export class RequestToken extends Token {
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #circumstances: Circumstances
  #shared: SharedCancellation | undefined
  #seat = -1
  #ended = false

  static {
    assignSeat = (token, seat) => (token.#seat = seat)
    idOf = (token) => token.#circumstances.id
  }

  constructor(request: IncomingMessage, response: ServerResponse, circumstances: Circumstances) {
    super(circumstances.deadline)
    this.#request = request
    this.#response = response
    this.#circumstances = circumstances
    Object.freeze(this)
    if (standing(request, response) !== 'open') {
      this.#end()
      return
    }
    circumstances.registry.add(this)
    whenOver(request, response, () => this.#end())
  }

  share(): SharedCancellation {
    return (this.#shared ??= shareCancellation(this))
  }

  protected override look(): CancellationError | undefined {
    const { registry, patience, late } = this.#circumstances
    if (registry.phase < patience) return undefined
    return late ? registry.shutdownReasons.late : registry.shutdownReasons.started
  }

  protected override isDone(): boolean {
    return standing(this.#request, this.#response) === 'complete'
  }

  protected override listenerFailed(error: unknown): void {
    this.#circumstances.registry.listenerFailed(error)
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    // A cause that nobody has looked at yet came first.
    const gone = standing(this.#request, this.#response) === 'gone'
    if (gone && !this.reason) cancel(this, clientGone())
    close(this)
    if (this.#seat >= 0) this.#circumstances.registry.free(this.#seat)
  }
}

Object.freeze(RequestToken.prototype)
