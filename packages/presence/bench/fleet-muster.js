// 50 instances with connections of their own, as 50 processes would have.
import { presence } from '@muster/presence'
import { readiness } from '@muster/readiness'
import Fastify from 'fastify'

const [redis] = process.argv.slice(2)

for (let at = 0; at < 50; at++) {
  const app = Fastify()
  await app.register(readiness, { service: 'fleet', instanceId: `i${at}` })
  await app.register(presence, { redis })
  await app.listen({ port: 0, host: '127.0.0.1' })
  void watch(app)
}
process.send('started')

async function watch(app) {
  for await (const event of app.presence.watch()) void event
}
