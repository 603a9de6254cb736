// The service that the faults happen to. Its log is JSON on stdout.
import { service } from '@muster/service'
import Fastify from 'fastify'
import { Cluster } from 'ioredis'

const { INSTANCE, ORCHESTRATOR, REDIS, CLOCK_OFFSET = '0' } = process.env
if (CLOCK_OFFSET !== '0') shiftClock(Number(CLOCK_OFFSET))

const app = Fastify({ logger: true, disableRequestLogging: true })
await app.register(service, {
  service: 'faulty',
  instanceId: INSTANCE,
  orchestrator: ORCHESTRATOR
    ? { url: ORCHESTRATOR, timeout: 1_000, retry: { min: 100, max: 1_000 } }
    : false,
  redis: REDIS ? source(JSON.parse(REDIS)) : undefined,
  presence: REDIS ? { ttl: 1_500, heartbeat: 500, timeout: 500 } : false,
  shutdown: { grace: 5_000 }
})
app.get('/', async () => 'served')
app.get('/block/:ms', async ({ params }) => {
  const end = performance.now() + Number(params.ms)
  while (performance.now() < end);
  return 'blocked'
})
await app.listen({ port: 0, host: '127.0.0.1' }).catch(() => {})

function source({ url, sentinels, nodes }) {
  if (nodes) return new Cluster(nodes, { clusterRetryStrategy: () => 100 }).on('error', () => {})
  return url ?? sentinels
}

function shiftClock(offset) {
  const now = Date.now
  Date.now = () => now() + offset
}
