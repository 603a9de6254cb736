import { service } from '@muster/service'
import Fastify from 'fastify'
import { addRoutes } from './routes.js'

const app = Fastify()
await app.register(service, { service: 'rolling', shutdown: { drainDelay: 1_000 } })
addRoutes(app)
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
