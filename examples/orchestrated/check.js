// The same service twice: registered by hand before it can answer, then by the plugin once it can.
import { once } from 'node:events'
import { createServer } from 'node:net'
import registration from '@muster/registration'
import { startOrchestrator } from './orchestrator.js'
import { createService } from './service.js'

const outcomes = {}
const { app: orchestrator, url } = await startOrchestrator((id, outcome) => {
  outcomes[id] = outcome
  console.log(`${id.padEnd(10)} the callback inside the registration was ${outcome}`)
})

const early = createService()
early.addHook('onReady', async () => {
  const body = JSON.stringify({ id: 'too-early', url: `http://127.0.0.1:${port}`, info: {} })
  await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
})
const port = await freePort()
await early.listen({ port, host: '127.0.0.1' })
await early.close()

const service = createService()
await service.register(registration, { url, service: 'in-time' })
await service.ready()
const registered = new Promise((resolve) => {
  service.registration.on('change', ({ state }) => state === 'registered' && resolve())
})
await service.listen({ port: 0, host: '127.0.0.1' })
await registered
await service.close()

const { services } = await (await fetch(url.replace('/$register', ''))).json()
const left = services.map(({ id }) => id)
console.log(`left behind when both had closed: ${left.join(', ')}`)
await orchestrator.close()

const isAsTold =
  outcomes['too-early'] === 'refused: ECONNREFUSED' &&
  outcomes['in-time'] === 'answered 200 with 1 configs' &&
  left.join() === 'too-early'
if (!isAsTold) throw new Error(`unexpected: ${JSON.stringify({ outcomes, left })}`)

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port: free } = server.address()
  server.close()
  await once(server, 'close')
  return free
}
