import type { ServerResponse } from 'node:http'
import { type CancellationError, describeReason } from './errors.ts'

/** Bounds of the time after which an EventSource comes back, in ms; spread, so that not all come at once. */
const RETRY = { least: 1_000, spread: 4_000 }

/** Writes the last record of a stream. */
export type Format = (reason: CancellationError) => string

const FORMATS: Record<string, Format> = {
  'text/event-stream': eventStream,
  'application/x-ndjson': ndjson,
  'application/ndjson': ndjson,
  'application/jsonl': ndjson,
  'application/x-jsonlines': ndjson
}

/** How the last record is written in a stream of this media type, if it is one of records. */
export function recordFormat(contentType: unknown): Format | undefined {
  if (typeof contentType !== 'string') return undefined
  const [type = ''] = contentType.split(';', 1)
  return FORMATS[type.trim().toLowerCase()]
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html */
function eventStream(reason: CancellationError): string {
  const retry = RETRY.least + Math.floor(Math.random() * RETRY.spread)
  const data = JSON.stringify(describeReason(reason))
  return `event: ${reason.kind}\nretry: ${retry}\ndata: ${data}\n\n`
}

function ndjson(reason: CancellationError): string {
  return `${JSON.stringify({ error: describeReason(reason) })}\n`
}

/**
 * Ends a response that has begun: with a last record where its type has records, else cut, so that the client
 * does not take what it has for the whole.
 */
export function finish(
  response: ServerResponse,
  reason: CancellationError,
  contentType: unknown = response.getHeader('content-type')
): void {
  if (response.writableEnded || response.destroyed) return
  const format = response.hasHeader('content-encoding') ? undefined : recordFormat(contentType)
  if (format) response.end(format(reason))
  else response.destroy()
}
