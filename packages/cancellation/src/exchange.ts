import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerResponse } from 'node:http2'

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
  return response.destroyed || request.socket.destroyed ? 'gone' : 'open'
}

function standingOfStream(response: unknown): Standing {
  const { stream, writableEnded } = response as Http2ServerResponse
  if (!stream.destroyed) return 'open'
  return writableEnded && stream.writableFinished && !stream.aborted ? 'complete' : 'gone'
}

/** Calls `over` at least once when the response is complete or the client is gone. */
export function whenOver(request: IncomingMessage, response: ServerResponse, over: () => void) {
  response.on('close', over)
  if (request.httpVersionMajor === 2 || response.socket) return
  // A pipelined response that waits for its turn hears nothing when the connection dies.
  const { socket } = request
  socket.setMaxListeners(socket.getMaxListeners() + 1)
  socket.once('close', over)
  response.on('close', () => {
    socket.off('close', over)
    socket.setMaxListeners(socket.getMaxListeners() - 1)
  })
}
