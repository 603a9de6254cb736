// A server for the benchmarks: its argument says what it does with a request.
import cancellation from '@muster/cancellation'
import fastify from 'fastify'

const variant = process.argv[2]
const app = fastify()
const inFlight = { count: 0, release() {} }
if (variant.startsWith('ours')) await app.register(cancellation)

const never = () => {}
const stop = new AbortController()
const answer = { hello: 'world' }

const handlers = {
  bare: async () => answer,
  ours: async () => answer,
  'ours, cancelled polled': async (request) => {
    if (request.cancellation.cancelled) never()
    return answer
  },
  'ours, signal read': async (request) => {
    if (request.cancellation.signal.aborted) never()
    return answer
  },
  'new AbortController()': async () => {
    if (new AbortController().signal.aborted) never()
    return answer
  },
  'request.signal read': async (request) => {
    if (request.signal.aborted) never()
    return answer
  },
  'AbortSignal.any': async () => {
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)])
    if (signal.aborted) never()
    return answer
  },
  'one listener each': () => hold((told) => stop.signal.addEventListener('abort', told)),
  'ours, listening': ({ cancellation: { signal } }) =>
    hold((told) => signal.addEventListener('abort', told)),
  'ours, not listening': ({ cancellation: token }) => {
    if (token.cancelled) never()
    return hold(never)
  }
}

let told = 0
const gone = new Promise((resolve) => (inFlight.release = resolve))

async function hold(listen) {
  inFlight.count++
  listen(() => told++)
  await gone
  return answer
}

/** Cancels all that is in flight and measures until everybody was told, and how long nothing else could run. */
async function fanOut() {
  let longest = 0
  let last = performance.now()
  let over = false
  const turn = () => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    if (!over) setImmediate(turn)
  }
  setImmediate(turn)
  await new Promise(setImmediate)
  longest = 0
  const begun = performance.now()
  if (variant.startsWith('ours')) await app.cancellation.shutdown('soft')
  else stop.abort()
  const total = performance.now() - begun
  over = true
  await new Promise(setImmediate)
  inFlight.release()
  return { total, longest: Math.min(longest, total), told }
}

const answers = {
  cpu: () => process.cpuUsage(),
  count: () => inFlight.count,
  fanOut,
  heap() {
    for (let i = 0; i < 5; i++) globalThis.gc()
    return process.memoryUsage().heapUsed
  }
}

app.get('/', handlers[variant])
const reply = async (question) => process.send(await answers[question]())
process.on('message', (question) => void reply(question))
process.on('disconnect', () => process.exit())
await app.listen({ port: 0, host: '127.0.0.1' })
process.send(app.server.address().port)
