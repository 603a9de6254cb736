// The same work for every contestant: quick requests with and without a body, a deaf slow one, and a stream.
import { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'

const between = (min, max) => min + Math.random() * (max - min)

export function addRoutes(app) {
  app.get('/quick', async () => {
    await pause(between(20, 80))
    return { pid: process.pid }
  })
  app.post('/quick', async ({ body }) => {
    await pause(between(20, 80))
    return { size: body.text.length }
  })
  // Deaf: it never asks whether it should stop.
  app.post('/slow', async () => {
    await pause(2_500)
    return { done: true }
  })
  app.get('/stream', (request, reply) => {
    reply.type('text/event-stream')
    return reply.send(Readable.from(ticks(request.cancellation?.signal)))
  })
}

/** One event each 100 ms, until nobody wants them any more. */
async function* ticks(signal) {
  for (let n = 0; ; n++) {
    yield `data: ${n}\n\n`
    await pause(100, undefined, { signal })
  }
}
