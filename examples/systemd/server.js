import readiness from '@muster/readiness'
import { markerFile, systemd } from '@muster/readiness/notify'
import { shutdown } from '@muster/shutdown'
import fastify from 'fastify'

const app = fastify({ logger: true })
await app.register(readiness, {
  service: 'billing',
  notify: [systemd({ reload: () => app.log.info('prices read again') }), markerFile()]
})
await app.register(shutdown)
app.get('/', async () => 'hello')

const prices = app.readiness.hold('prices')
setTimeout(() => prices.release(), 300)
await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })
