import { service } from '@muster/service'
import Fastify from 'fastify'

const app = Fastify({ logger: true })
await app.register(service, { service: 'billing', redis: process.env.REDIS_URL })
app.get('/', async () => 'hello')
await app.listen({ port: Number(process.env.PORT ?? 3000), host: '0.0.0.0' })
