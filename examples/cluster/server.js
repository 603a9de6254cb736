import readiness from '@muster/readiness'
import { clusterReadiness } from '@muster/readiness/cluster'
import { clusterPrimary, shutdown } from '@muster/shutdown'
import fastify from 'fastify'
import cluster from 'node:cluster'

const WORKERS = 4

if (cluster.isPrimary) {
  // Tells systemd, s6 and PM2 of the cluster as a whole; its marker is there while all workers are ready.
  const service = clusterReadiness({ service: 'billing', workers: WORKERS })
  for (let i = 0; i < WORKERS; i++) cluster.fork()
  cluster.on('exit', () => {
    if (service.state !== 'draining') cluster.fork()
  })
  process.once('SIGTERM', () => void service.drain('SIGTERM'))
  // Passes the signal on and exits when all workers have.
  clusterPrimary()
} else {
  const app = fastify({ logger: { level: 'warn' } })
  await app.register(readiness, { service: 'billing' })
  await app.register(shutdown)
  app.get('/', async () => `worker ${process.pid}\n`)
  await app.listen({ port: Number(process.env.PORT ?? 3000) })
}
