// The orchestrator of the fleet: who is there, over HTTP. In memory, or in Redis with REDIS_URL.
import { memoryLeases, redisLeases } from '@muster/leases'
import { orchestrator } from '@muster/orchestrator'
import { shutdown } from '@muster/shutdown'
import Fastify from 'fastify'

const { PORT, REDIS_URL, NAMESPACE: namespace, TTL } = process.env
const ttl = Number(TTL)

const app = Fastify()
const store = REDIS_URL
  ? redisLeases({ redis: REDIS_URL, namespace, ttl, logger: app.log })
  : memoryLeases({ namespace, ttl })

await app.register(shutdown)
await app.register(orchestrator, { store })
app.addHook('onClose', async () => {
  await store.close()
})
await app.listen({ port: Number(PORT), host: '127.0.0.1' })
process.send?.({ what: 'listening' })
