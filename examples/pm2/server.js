import readiness from '@muster/readiness'
import { shutdown } from '@muster/shutdown'
import fastify from 'fastify'

const app = fastify({ logger: true })
await app.register(readiness, { service: 'billing' })
await app.register(shutdown)
app.get('/', async () => 'hello')

const prices = app.readiness.hold('prices')
setTimeout(() => prices.release(), 1_000)
await app.listen({ port: Number(process.env.PORT ?? 3000) })
