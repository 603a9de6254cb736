import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import { addRoutes } from './routes.js'

const app = Fastify()
app.get('/readyz', async () => 'ready')
addRoutes(app)
closeWithGrace(async () => {
  await app.close()
})
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
