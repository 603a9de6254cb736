// A service under load that says what it holds: memory after a collection, sockets, timers, listeners.
import { service } from '@muster/service'
import Fastify from 'fastify'
import { setTimeout as pause } from 'node:timers/promises'

const { NAME, ORCHESTRATOR, REDIS_URL } = process.env
const app = Fastify()
await app.register(service, {
  service: 'soak',
  instanceId: NAME,
  orchestrator: ORCHESTRATOR,
  redis: REDIS_URL,
  presence: { ttl: 3_000, heartbeat: 1_000 }
})
app.post('/work', async ({ body, cancellation }) => {
  cancellation.throwIfCancelled()
  await pause(20, undefined, { signal: cancellation.signal })
  return { size: body.text.length }
})
app.get('/peers', async () => app.presence.instances('soak'))
app.get('/held', async () => {
  gc()
  await pause(50)
  gc()
  const resources = Object.groupBy?.(process.getActiveResourcesInfo(), String) ?? count()
  return {
    heap: process.memoryUsage().heapUsed,
    sockets: resources.TCPSocketWrap?.length ?? 0,
    timers: resources.Timeout?.length ?? 0,
    listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)
  }
})
await app.listen({ port: 0, host: '127.0.0.1' })
console.log(`at ${app.server.address().port}`)

function count() {
  const groups = {}
  for (const name of process.getActiveResourcesInfo()) (groups[name] ??= []).push(name)
  return groups
}
