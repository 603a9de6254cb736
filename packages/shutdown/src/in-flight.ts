import type {
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction,
  RawReplyDefaultExpression
} from 'fastify'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

const kSeat = Symbol('muster.seat')

type Response = RawReplyDefaultExpression & {
  /** Where its reply is kept; -1 once it is closed. */
  [kSeat]?: number
}

/** A request that the hard point cut. */
export interface Cut {
  method: string
  url: string
  /** ms since it arrived. */
  age: number
}

const POLL_INTERVAL = 10

/** The requests being answered and the connections they came on. */
export class InFlight {
  /** Not in a Map by response: that alone would cost a tenth of a small request. */
  readonly #replies: FastifyReply[] = []
  readonly #connections = new Set<Socket>()
  readonly #forget: (this: Response) => void
  #lastReplies = false

  constructor() {
    const replies = this.#replies
    this.#forget = function () {
      const { [kSeat]: seat = -1 } = this
      this[kSeat] = -1
      const last = seat < 0 ? undefined : replies.pop()
      // The last one takes the free seat.
      if (last === undefined || seat === replies.length) return
      replies[seat] = last
      ;(last.raw as Response)[kSeat] = seat
    }
  }

  get size(): number {
    return this.#replies.length
  }

  /** An onRequest hook. Counts until the response closes: `onResponse` would miss those that are aborted. */
  readonly track = (
    _request: FastifyRequest,
    reply: FastifyReply,
    done: HookHandlerDoneFunction
  ): void => {
    const raw: Response = reply.raw
    raw[kSeat] = this.#replies.push(reply) - 1
    raw.on('close', this.#forget)
    if (this.#lastReplies) closeAfterReply(raw)
    done()
  }

  /** A listener for the `connection` of the app's server. */
  readonly connected = (socket: Socket): void => {
    this.#connections.add(socket)
    socket.once('close', () => this.#connections.delete(socket))
  }

  /** From now on each reply is the last one on its connection, and says so. */
  sendLastReplies(): void {
    this.#lastReplies = true
    for (const { raw } of this.#replies) closeAfterReply(raw)
  }

  /**
   * Ends connections that no request is in flight on and that `closeIdleConnections()` leaves open: those that never
   * sent anything and, unless `begun` is false, those that have sent a part of a request or only a TLS handshake.
   */
  closeUnused({ begun }: { begun: boolean }): void {
    const used = new Set(this.#replies.map(({ raw: { socket } }) => socket && peerOf(socket)))
    for (const socket of this.#connections) {
      if (!used.has(peerOf(socket)) && (begun || socket.bytesRead === 0)) socket.destroy()
    }
  }

  /**
   * Waits for requests on servers that `app.close()` does not wait for: Fastify opens a second one where `localhost`
   * has two addresses.
   */
  async elsewhere(signal: AbortSignal): Promise<void> {
    const here = new Set([...this.#connections].map(peerOf))
    const isElsewhere = ({ socket }: Response): boolean => !!socket && !here.has(peerOf(socket))
    const waiting = this.#replies.map(({ raw }): Response => raw).filter(isElsewhere)
    while (!signal.aborted && waiting.some((raw) => raw[kSeat] !== -1)) {
      await pause(POLL_INTERVAL, undefined, { signal }).catch(() => {})
    }
  }

  /** Destroys every connection, and tells which requests were still being answered. */
  cut(): Cut[] {
    const cuts = this.#replies.map(({ request, elapsedTime }) => {
      return { method: request.method, url: request.url, age: Math.round(elapsedTime) }
    })
    for (const { raw } of this.#replies.slice()) raw.socket?.destroy()
    for (const socket of this.#connections) socket.destroy()
    return cuts
  }
}

/** Tells connections apart also where a TLS socket stands in for the one that was accepted. */
function peerOf(socket: Socket): unknown {
  return socket.remotePort ?? socket
}

/** Node then writes `connection: close` by itself; HTTP/2 has no such header. */
function closeAfterReply(raw: Response): void {
  if (raw.req.httpVersionMajor < 2 && !raw.headersSent) raw.shouldKeepAlive = false
}
