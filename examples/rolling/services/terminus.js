import { createTerminus } from '@godaddy/terminus'
import Fastify from 'fastify'
import { setTimeout as pause } from 'node:timers/promises'
import { addRoutes } from './routes.js'

const app = Fastify()
addRoutes(app)
await app.ready()
createTerminus(app.server, {
  signals: ['SIGTERM'],
  healthChecks: { '/readyz': async () => {} },
  timeout: 10_000,
  beforeShutdown: () => pause(1_000),
  onSignal: () => app.close()
})
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
