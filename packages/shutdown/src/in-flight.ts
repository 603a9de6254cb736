import type {
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction,
  RawReplyDefaultExpression
} from 'fastify'
import type { Socket } from 'node:net'

type Response = RawReplyDefaultExpression

/** A request that the hard point cut. */
export interface Cut {
  method: string
  url: string
  /** ms since it arrived. */
  age: number
}

/** The requests being answered and the connections they came on. */
export class InFlight {
  readonly #replies = new Map<Response, FastifyReply>()
  readonly #sockets = new Set<Socket>()
  readonly #forget: (this: Response) => void
  #lastReplies = false

  constructor() {
    const replies = this.#replies
    this.#forget = function () {
      replies.delete(this)
    }
  }

  get size(): number {
    return this.#replies.size
  }

  /** An onRequest hook. Counts until the response closes: `onResponse` would miss those that are aborted. */
  readonly track = (
    _request: FastifyRequest,
    reply: FastifyReply,
    done: HookHandlerDoneFunction
  ): void => {
    const { raw } = reply
    this.#replies.set(raw, reply)
    raw.on('close', this.#forget)
    if (this.#lastReplies) closeAfterReply(raw)
    done()
  }

  /** A listener for the server's `connection`. */
  readonly connected = (socket: Socket): void => {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  /** From now on each reply is the last one on its connection, and says so. */
  sendLastReplies(): void {
    this.#lastReplies = true
    for (const raw of this.#replies.keys()) closeAfterReply(raw)
  }

  /** Ends the connections that never sent anything; `closeIdleConnections()` leaves them open. */
  closeUnused(): void {
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy()
  }

  /** Destroys the connection of every request that is still being answered. */
  cut(): Cut[] {
    return [...this.#replies].map(([raw, { request, elapsedTime }]) => {
      raw.socket?.destroy()
      return { method: request.method, url: request.url, age: Math.round(elapsedTime) }
    })
  }
}

/** Node then writes `connection: close` by itself; HTTP/2 has no such header. */
function closeAfterReply(raw: Response): void {
  if (raw.req.httpVersionMajor < 2 && !raw.headersSent) raw.shouldKeepAlive = false
}
