// Work that never yields runs in a worker thread. `curl localhost:3000/primes/1000000000`, then Ctrl-C: it stops.
import { Worker } from 'node:worker_threads'
import cancellation from '@muster/cancellation'
import Fastify from 'fastify'

const app = Fastify({ logger: true })
await app.register(cancellation)

const config = { cancellation: { deadline: Number(process.env.DEADLINE ?? 60_000) } }
app.get('/primes/:upTo', { config }, async (request) => {
  const workerData = {
    upTo: Number(request.params.upTo),
    cancellation: request.cancellation.share()
  }
  const worker = new Worker(new URL('primes.js', import.meta.url), { workerData })
  worker.once('exit', (exitCode) => request.log.info({ exitCode }, 'the worker has ended'))
  return app.cancellation.run(worker, request, { ceiling: 2_000 })
})

process.once('SIGTERM', () => void app.close())
process.once('SIGINT', () => void app.close())
await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })
