import { Readable } from 'node:stream'
import type { FastifyInstance, RouteShorthandOptions } from 'fastify'
import { TooManyStreamsError } from './errors.ts'
import type { EventHub } from './event-hub.ts'

const MAX_STREAMS = 1_000

/** `GET $events`: server-sent events, a snapshot first, or what was missed since Last-Event-ID. */
export async function eventRoutes(
  scope: FastifyInstance,
  { hub, read }: { hub: EventHub; read: RouteShorthandOptions }
): Promise<void> {
  let open = 0
  const schema = {
    summary: 'Changes as server-sent events: snapshot, joined, changed, left, expired',
    produces: ['text/event-stream']
  } as object
  scope.get('/$events', { ...read, schema, exposeHeadRoute: false }, (request, reply) => {
    if (open >= MAX_STREAMS) throw new TooManyStreamsError()
    const gone = new AbortController()
    const lastEventId = request.headers['last-event-id']
    open += 1
    reply.raw.once('close', () => {
      open -= 1
      gone.abort()
    })
    hub.start()
    const text = hub.stream(typeof lastEventId === 'string' ? lastEventId : undefined, gone.signal)
    return reply
      .type('text/event-stream')
      .header('cache-control', 'no-store')
      .header('x-accel-buffering', 'no')
      .send(Readable.from(text, { objectMode: false }))
  })
}
