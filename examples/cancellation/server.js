// Asks several slow services at once. `curl -d '' localhost:3000/report`, then Ctrl-C: the upstream calls stop.
import cancellation from '@muster/cancellation'
import Fastify from 'fastify'
import { startUpstream } from './upstream.js'

const upstream = await startUpstream()
const app = Fastify({ logger: true })
await app.register(cancellation, { deadlineHeaders: true, maxDeadline: 30_000 })
app.addHook('onClose', async () => upstream.close())

const SOURCES = ['orders', 'stock', 'prices']

app.post('/report', { config: { cancellation: { deadline: 20_000 } } }, async (request) => {
  const answers = SOURCES.map(async (source) => {
    const answer = await app.cancellation.fetch(request, `${upstream.url}/${source}`)
    return [source, await answer.text()]
  })
  return Object.fromEntries(await Promise.all(answers))
})

process.once('SIGTERM', () => void app.close())
process.once('SIGINT', () => void app.close())
await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })
