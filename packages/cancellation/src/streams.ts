import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { cancellableStream } from './cancellable-stream.ts'
import type { CancellationError } from './errors.ts'
import { logCancelled } from './failure.ts'
import { finish, recordFormat } from './record.ts'
import type { RequestTokens } from './request-tokens.ts'

type WebStream = Parameters<typeof Readable.fromWeb>[0]

type Send = (this: FastifyReply, payload?: unknown) => FastifyReply

/**
 * Looks at each payload on its way into `reply.send()`. Not an onSend hook, because every reply would pay for that,
 * several hundred ns, and a stream is rare.
 */
export function watchReplies(app: FastifyInstance, tokens: RequestTokens): void {
  let fastifysOwn: Send | undefined

  function send(this: FastifyReply, payload?: unknown): FastifyReply {
    fastifysOwn ??= inheritedSend(this)
    const watched = this.sent ? payload : watchStream(tokens, this.request, this, payload)
    return fastifysOwn.call(this, watched)
  }

  function inheritedSend(reply: FastifyReply): Send {
    let holder: { send: Send } = reply
    while (holder.send === send) holder = Object.getPrototypeOf(holder)
    return holder.send
  }

  app.decorateReply('send', send)
}

/**
 * The payload to send instead of `payload`, so that a stream ends in a way that its client understands.
 * A stream of records ends with a last one. Any other is cut, but only where somebody asked for the token.
 */
function watchStream(
  tokens: RequestTokens,
  request: FastifyRequest,
  reply: FastifyReply,
  payload: unknown
): unknown {
  if (!isStream(payload) || !tokens.hasArrived(request)) return payload
  const { raw } = reply
  const encoded = reply.hasHeader('content-encoding')
  const format = encoded ? undefined : recordFormat(reply.getHeader('content-type'))
  if (format || tokens.wasAsked(request)) {
    const token = tokens.of(request)
    token.onCancel(log)
    const source =
      payload instanceof ReadableStream ? Readable.fromWeb(payload as WebStream) : payload
    return cancellableStream(source, token, format)
  }
  tokens.whenAsked(request, (token) => {
    token.onCancel((reason) => {
      log(reason)
      if (raw.headersSent) raw.destroy()
      else if ('destroy' in payload) payload.destroy(reason)
    })
  })
  return payload

  /** What fails before the first byte comes to the error handler, which logs it. */
  function log(reason: CancellationError): void {
    if (raw.headersSent) logCancelled(reason, request)
  }
}

/** A stream of Node's, of the readable-stream package, or of the web. */
function isStream(payload: unknown): payload is Readable | ReadableStream {
  if (typeof payload !== 'object' || payload === null) return false
  if ('pipe' in payload && 'destroy' in payload) return true
  return payload instanceof ReadableStream
}

/** Ends what a handler writes to `reply.raw` by itself with a last record, or cuts it. */
export function finishRaw(
  tokens: RequestTokens,
  reply: FastifyReply,
  contentType?: string
): Disposable {
  return tokens.of(reply.request).onCancel((reason) => {
    if (!reply.raw.headersSent) return
    logCancelled(reason, reply.request)
    finish(reply.raw, reason, contentType)
  })
}
