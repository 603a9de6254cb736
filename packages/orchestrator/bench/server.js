// One server to be measured: node server.js bare|memory|redis [redis URL]. Tells its port to the parent.
import Fastify from 'fastify'
import { memoryLeases, redisLeases } from '@muster/leases'
import orchestrator from '@muster/orchestrator'

const [kind, redis] = process.argv.slice(2)
const TTL = 600_000
const app = Fastify()

if (kind === 'bare') {
  app.put('/services/:id/$ping', async ({ params: { id } }) => {
    const now = Date.now()
    return {
      id,
      status: 'alive',
      last_ping_at: new Date(now).toISOString(),
      expires_at: new Date(now + TTL).toISOString()
    }
  })
  app.post('/services/$register', async ({ body: { id, url } }) => ({
    id,
    status: 'registered',
    service_url: url,
    message: 'Service registration updated',
    ttl_seconds: TTL / 1_000,
    ping_url: `http://127.0.0.1/services/${id}/$ping`
  }))
} else {
  const store = kind === 'redis' ? redisLeases({ redis, ttl: TTL }) : memoryLeases({ ttl: TTL })
  app.register(orchestrator, { store })
  app.addHook('onClose', async () => {
    await store.close()
  })
}

await app.listen({ port: 0, host: '127.0.0.1' })
process.send({ port: app.server.address().port })
process.on('message', () => process.send({ cpu: process.cpuUsage() }))
process.once('disconnect', () => process.exit())
