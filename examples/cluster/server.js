import readiness, { clusterReadiness } from '@muster/readiness'
import { shutdown } from '@muster/shutdown'
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
  process.once('SIGTERM', () => void end(service))
} else {
  const app = fastify({ logger: { level: 'warn' } })
  await app.register(readiness, { service: 'billing' })
  await app.register(shutdown)
  app.get('/', async () => `worker ${process.pid}\n`)
  await app.listen({ port: Number(process.env.PORT ?? 3000) })
}

/** @param {import('@muster/readiness').ClusterReadiness} service */
async function end(service) {
  await service.drain('SIGTERM')
  for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGTERM')
  service.close()
}
