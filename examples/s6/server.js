import readiness from '@muster/readiness'
import { shutdown } from '@muster/shutdown'
import fastify from 'fastify'

// The run script stays in its service directory, where readiness finds out about the notification descriptor.
const app = fastify({ logger: true })
await app.register(readiness, { service: 'billing' })
await app.register(shutdown)
app.get('/', async () => 'hello')

const prices = app.readiness.hold('prices')
setTimeout(() => prices.release(), 2_000)
await app.listen({ port: Number(process.env.PORT ?? 3000) })
