import { cancellation } from '@muster/cancellation'
import { orchestrator } from '@muster/orchestrator'
import { presence } from '@muster/presence'
import { readiness } from '@muster/readiness'
import { registration } from '@muster/registration'
import { service } from '@muster/service'
import { shutdown } from '@muster/shutdown'
import { warmup } from '@muster/warmup'
import Fastify from 'fastify'

const app = Fastify()
app.register(readiness, { timeout: '30s' }) // wrong
app.register(readiness, { tiemout: 30_000 }) // wrong
app.register(registration, 8000) // wrong
app.register(registration, { url: 'http://orchestrator', retries: 5 }) // wrong
app.register(presence, { ttl: '15s' }) // wrong
app.register(cancellation, { maxDeadline: '1m' }) // wrong
app.register(shutdown, { signals: ['SIGKILL'] }) // wrong
app.register(orchestrator, { ttl: true }) // wrong
app.register(warmup, { tasks: { answer: 42 } }) // wrong
app.register(service, { service: 1 }) // wrong
app.get('/', (request) => request.cancellation.cancel()) // wrong
