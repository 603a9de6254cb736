// An idle service: KIND is what ends it.
import Fastify from 'fastify'

const app = Fastify()
if (process.env.KIND === 'muster') {
  const { shutdown } = await import('@muster/shutdown')
  await app.register(shutdown, { drainDelay: 0 })
} else {
  const { default: closeWithGrace } = await import('close-with-grace')
  closeWithGrace(async () => {
    await app.close()
  })
}
app.get('/', async () => 'served')
await app.listen({ port: 0, host: '127.0.0.1' })
if (app.readiness) await app.readiness.whenReady()
process.send('ready')
