import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'

/** How a request stands: `gone` when the client left before the response was complete. */
export type Standing = 'open' | 'complete' | 'gone'

/**
 * Looks at the response, because a request is "closed" as soon as its body was read.
 * On HTTP/1 a response that has ended is complete; on HTTP/2 it must also have been flushed,
 * because a stream that was reset looks ended.
 */
export function standing(request: IncomingMessage, response: ServerResponse): Standing {
  if (request.httpVersionMajor === 2) return standingOfStream(response)
  if (response.writableEnded) return 'complete'
  // What is injected may have no socket.
  return response.destroyed || request.socket?.destroyed ? 'gone' : 'open'
}

function standingOfStream(response: ServerResponse): Standing {
  const stream = streamOf(response)
  if (!stream.destroyed) return 'open'
  const flushed = stream.writableFinished && !stream.aborted
  return response.writableEnded && flushed ? 'complete' : 'gone'
}

/** Calls `over` at least once when the response is complete or the client is gone. */
export function whenOver(
  request: IncomingMessage,
  response: ServerResponse,
  over: () => void
): void {
  if (request.httpVersionMajor === 2) {
    // The response to a HEAD request that was reset does not say that it is closed.
    streamOf(response).on('close', over)
    return
  }
  response.on('close', over)
  if (!response.socket) whenQueueDies(request.socket, response, over)
}

/** A pipelined response that waits for its turn hears nothing when the connection dies. */
function whenQueueDies(socket: Socket, response: ServerResponse, over: () => void): void {
  socket.setMaxListeners(socket.getMaxListeners() + 1)
  socket.once('close', over)
  response.on('close', () => {
    socket.off('close', over)
    socket.setMaxListeners(socket.getMaxListeners() - 1)
  })
}

function streamOf(response: unknown): ServerHttp2Stream {
  return (response as Http2ServerResponse).stream
}
