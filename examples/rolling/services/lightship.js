import Fastify from 'fastify'
import { createLightship } from 'lightship'
import { addRoutes } from './routes.js'

const app = Fastify()
const lightship = await createLightship({
  detectKubernetes: false,
  port: 0,
  shutdownDelay: 1_000,
  gracefulShutdownTimeout: 10_000
})
app.get('/readyz', async (_, reply) => reply.code(lightship.isServerReady() ? 200 : 503).send())
addRoutes(app)
lightship.registerShutdownHandler(() => app.close())
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
lightship.signalReady()
