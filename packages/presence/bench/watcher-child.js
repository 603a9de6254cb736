import { presence } from '@muster/presence'
import Fastify from 'fastify'

const [redis] = process.argv.slice(2)
const app = Fastify()
await app.register(presence, { service: 'watching', redis })
await app.listen({ port: 0, host: '127.0.0.1' })
await app.readiness.whenReady()
globalThis.gc()
const heap = process.memoryUsage().heapUsed
let begun
for await (const event of app.presence.watch()) {
  if (event.type !== 'snapshot') continue
  process.send({ instances: event.instances.length, heap })
  process.on('message', (message) => {
    if (message === 'begin') begun = process.cpuUsage()
    else report()
  })
}

function report() {
  const { user, system } = process.cpuUsage(begun)
  globalThis.gc()
  const { heapUsed, rss } = process.memoryUsage()
  process.send({ cpu: user + system, heapAfter: heapUsed, rss })
}
