// One start of a service: bare, with readiness, or with every plugin. Tells how long it took, and later its CPU.
const { KIND } = process.env
const idle = process.cpuUsage()
const begun = performance.now()
const { default: Fastify } = await import('fastify')

const app = Fastify()
if (KIND === 'readiness') {
  const { readiness } = await import('@muster/readiness')
  await app.register(readiness, { service: 'bench' })
}
if (KIND === 'service') {
  const { service } = await import('@muster/service')
  await app.register(service, { service: 'bench', orchestrator: false, presence: {} })
}
app.get('/', async () => ({ hello: 'world' }))
app.post('/', async ({ body }) => ({ size: body.text.length }))
await app.listen({ port: 0, host: '127.0.0.1' })
if (app.readiness) await app.readiness.whenReady()
const ready = performance.now() - begun
process.on('message', () => process.send({ cpu: total(process.cpuUsage()) }))
process.on('disconnect', () => process.exit())
process.send({ port: app.server.address().port, ready, cpu: total(process.cpuUsage(idle)) / 1_000 })

function total({ user, system }) {
  return user + system
}
