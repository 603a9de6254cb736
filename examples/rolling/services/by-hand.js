import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import { setTimeout as pause } from 'node:timers/promises'
import { addRoutes } from './routes.js'

const app = Fastify()
let ready = true
app.get('/readyz', async (_, reply) => reply.code(ready ? 200 : 503).send())
addRoutes(app)
closeWithGrace(async () => {
  ready = false
  await pause(1_000)
  await app.close()
})
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
