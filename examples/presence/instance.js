// One of the four: an ordinary service that announces itself.
import { presence } from '@muster/presence'
import Fastify from 'fastify'

const [instanceId, redis] = process.argv.slice(2)
const app = Fastify()
await app.register(presence, {
  service: 'inference',
  instanceId,
  redis,
  heartbeat: 500,
  ttl: 2_000
})
app.get('/', async () => `hello from ${instanceId}\n`)
await app.listen({ port: 0, host: '127.0.0.1' })

process.once('SIGTERM', () => void app.close())
