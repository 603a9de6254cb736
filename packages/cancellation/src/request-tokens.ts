import type { IncomingMessage, ServerResponse } from 'node:http'
import { type CancellationError, deadlinePassed, TooEarlyError } from './errors.ts'
import { type LiveTokens, PHASES } from './live-tokens.ts'
import { RequestToken } from './request-token.ts'
import { cancel } from './token.ts'

/** What a route has said about its requests. */
export interface Terms {
  /** The phase of the shutdown that cancels them. */
  readonly patience: number
  /** Whether the framework's own `handlerTimeout` is set. */
  readonly handlerTimeout: boolean
}

const DEFAULT_TERMS: Terms = { patience: PHASES.soft, handlerTimeout: false }

const kResponse = Symbol('muster.response')
const kLate = Symbol('muster.late')
const kTerms = Symbol('muster.terms')
const kDeadline = Symbol('muster.deadline')
const kToken = Symbol('muster.token')
const kOnToken = Symbol('muster.on-token')

/** What is kept on a request; symbols, so that it shows in no log and no copy of a body can stand in for it. */
interface Request {
  readonly id: string
  readonly raw: IncomingMessage
  readonly signal: AbortSignal
  [kResponse]?: ServerResponse
  [kLate]?: boolean
  [kTerms]?: Terms
  [kDeadline]?: number
  [kToken]?: RequestToken
  [kOnToken]?: (token: RequestToken) => void
}

/** Gives each request its token, once somebody asks for it. */
export class RequestTokens {
  readonly #live: LiveTokens

  constructor(live: LiveTokens) {
    this.#live = live
  }

  /** For every request; all that one costs which nobody asks. */
  arrived(request: Request, response: ServerResponse): void {
    request[kResponse] = response
    if (this.#live.phase > 0) request[kLate] = true
  }

  hasArrived(request: Request): boolean {
    return request[kResponse] !== undefined
  }

  /** @param timeout ms, Infinity for no deadline */
  accept(request: Request, terms: Terms, timeout: number): void {
    request[kTerms] = terms
    if (timeout !== Infinity) request[kDeadline] = Date.now() + timeout
  }

  of(request: Request): RequestToken {
    return (request[kToken] ??= this.#create(request))
  }

  /** Why a request is cancelled, without making a token: who has not asked for one was not cancelled. */
  reasonOf(request: Request): CancellationError | undefined {
    return request[kToken]?.reason
  }

  /** The reason of a request whose deadline has passed before its handler began. */
  refusalOf(request: Request): CancellationError | undefined {
    if (request[kDeadline] === undefined || Date.now() < request[kDeadline]) return undefined
    const token = this.of(request)
    cancel(token, deadlinePassed(false))
    return token.reason
  }

  wasAsked(request: Request): boolean {
    return request[kToken] !== undefined
  }

  /** Calls `use` with the token when somebody asks for it for the first time. */
  whenAsked(request: Request, use: (token: RequestToken) => void): void {
    request[kOnToken] = use
  }

  #create(request: Request): RequestToken {
    const response = request[kResponse]
    if (!response) throw new TooEarlyError()
    const { patience, handlerTimeout } = request[kTerms] ?? DEFAULT_TERMS
    const token = new RequestToken(request.raw, response, {
      id: request.id,
      registry: this.#live,
      patience,
      late: request[kLate] === true,
      deadline: request[kDeadline]
    })
    if (handlerTimeout) cancelAtHandlerTimeout(token, request.signal)
    request[kOnToken]?.(token)
    return token
  }
}

/** The framework answers 503 then, while the handler goes on: nobody wants that any more. */
function cancelAtHandlerTimeout(token: RequestToken, signal: AbortSignal): void {
  signal.addEventListener('abort', () => {
    if (signal.reason.code === 'FST_ERR_HANDLER_TIMEOUT') cancel(token, deadlinePassed(true))
  })
}
