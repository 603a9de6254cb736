// One route, bare or with every plugin; says how much CPU it has used when it is asked.
const { KIND } = process.env
const { default: Fastify } = await import('fastify')

const app = Fastify()
if (KIND === 'muster') {
  const { service } = await import('@muster/service')
  await app.register(service, { service: 'bench', orchestrator: false, presence: {} })
}
app.get('/', async () => ({ hello: 'world' }))
app.post('/', async ({ body }) => ({ size: body.text.length }))
await app.listen({ port: 0, host: '127.0.0.1' })
if (app.readiness) await app.readiness.whenReady()
process.on('message', () => process.send({ cpu: process.cpuUsage() }))
process.send({ port: app.server.address().port, ready: performance.now() })
