// The port is bound when the labels are there; traffic is let in when the model is loaded.
import shutdown from '@muster/shutdown'
import warmup, { eager } from '@muster/warmup'
import Fastify from 'fastify'
import { loadLabels, loadModel } from './model.js'

const app = Fastify({ logger: true })
const model = eager(({ signal }) => loadModel(signal))

await app.register(shutdown)
await app.register(warmup, {
  tasks: {
    labels: { run: ({ signal }) => loadLabels(signal), gate: 'listen' },
    model: { run: model, after: ['labels'], dispose: (loaded) => loaded.unload() }
  }
})

async function classify({ params: { text } }) {
  const [labels, loaded] = await Promise.all([app.warmup.get('labels'), model.get()])
  return { label: labels[Math.round(loaded.score(text)) % labels.length] }
}

app.get('/classify/:text', classify)
app.get('/wait/:text', { config: { warmup: ['model'], warmupWait: 5_000 } }, classify)

await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })
