// A service of the fleet: everything of Muster in one register, and work that takes a while.
import { service } from '@muster/service'
import Fastify from 'fastify'
import { setTimeout as pause } from 'node:timers/promises'
import { follow } from './follow.js'

const { NAME, ORCHESTRATOR, REDIS_URL, NAMESPACE, TTL } = process.env
const ttl = Number(TTL)

const app = Fastify()
await app.register(service, {
  service: NAME,
  orchestrator: ORCHESTRATOR,
  redis: REDIS_URL,
  presence: REDIS_URL && { namespace: NAMESPACE, ttl, heartbeat: Math.floor(ttl / 3) },
  shutdown: { drainDelay: 700 }
})

app.post('/work', async ({ body, cancellation }) => {
  for (let step = 0; step < body.steps; step++) {
    cancellation.throwIfCancelled()
    await pause(100)
  }
  return { steps: body.steps }
})
app.get('/peers/:service', async ({ params }) => app.presence.instances(params.service))

follow(app)
await app.listen({ port: 0, host: '127.0.0.1' })
