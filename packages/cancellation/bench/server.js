// A server for the benchmarks: what it does with a request is its argument.
import cancellation from '@muster/cancellation'
import fastify from 'fastify'

const variant = process.argv[2]
const app = fastify()
if (variant.startsWith('ours')) await app.register(cancellation)

const shutdown = new AbortController()
const never = () => {}
const handlers = {
  bare: async () => ({ hello: 'world' }),
  ours: async () => ({ hello: 'world' }),
  'ours, cancelled polled': async (request) => {
    if (request.cancellation.cancelled) never()
    return { hello: 'world' }
  },
  'ours, signal read': async (request) => {
    if (request.cancellation.signal.aborted) never()
    return { hello: 'world' }
  },
  'request.signal read': async (request) => {
    if (request.signal.aborted) never()
    return { hello: 'world' }
  },
  'AbortSignal.any': async () => {
    const signal = AbortSignal.any([shutdown.signal, AbortSignal.timeout(30_000)])
    if (signal.aborted) never()
    return { hello: 'world' }
  }
}

app.get('/', handlers[variant])
process.on('message', (message) => {
  if (message === 'cpu') process.send(process.cpuUsage())
  if (message === 'heap') {
    for (let i = 0; i < 5; i++) globalThis.gc()
    process.send(process.memoryUsage().heapUsed)
  }
  if (message === 'stop') process.exit()
})
await app.listen({ port: 0, host: '127.0.0.1' })
process.send(app.server.address().port)
