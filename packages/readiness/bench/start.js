// One start of a service, in a process of its own: reports the moments in ms from the start of the process's own code.
import dns from 'node:dns'

const [kind, addresses] = process.argv.slice(2)
if (addresses === '2') bindTwice()

const { default: fastify } = await import('fastify')
const app = fastify()
app.get('/', async () => 'served')
if (kind !== 'bare') {
  const { default: plugin } = await import('@muster/readiness')
  await app.register(plugin, { service: 'bench' })
}
await app.ready()
const listening = performance.now()
let bound
app.server.once('listening', () => (bound = performance.now()))
await app.listen({ port: 0, host: addresses === '2' ? 'localhost' : '127.0.0.1' })
const listened = performance.now()
await app.readiness?.whenReady()
const ready = performance.now()
const { port } = app.server.address()
process.send({
  port,
  listen: listened - listening,
  ready: ready - listened,
  readySinceBound: ready - bound
})
process.once('message', () => process.exit())

/** `localhost` as both loopback addresses, which not every machine has. */
function bindTwice() {
  const both = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 }
  ]
  dns.lookup = (host, ...rest) => {
    const done = rest.pop()
    if (rest.length > 0) done(null, both)
    else done(null, ...(host === '::1' ? ['::1', 6] : ['127.0.0.1', 4]))
  }
}
