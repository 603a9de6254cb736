// Load on two instances that stay and one that is restarted every few seconds: do the survivors grow?
// node run.js [--minutes 10] [--every 5]
import { orchestrator } from '@muster/orchestrator'
import { startFixture, startRedis } from '@muster/testkit'
import Fastify from 'fastify'
import { Agent, request } from 'node:http'
import { parseArgs } from 'node:util'
import { setTimeout as pause } from 'node:timers/promises'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    every: { type: 'string', default: '5' }
  }
})
const BODY = JSON.stringify({ text: 'x'.repeat(2_000) })
const LOOPS = 10
const end = performance.now() + Number(values.minutes) * 60_000

const redis = await startRedis()
const registry = Fastify()
await registry.register(orchestrator, { ttl: 3_000 })
const origin = await registry.listen({ port: 0, host: '127.0.0.1' })

const survivors = await Promise.all(['one', 'two'].map(start))
const loads = survivors.map(({ port }) => load(port))
let restarts = 0
let broken = 0
const samples = []

// Warm first, so that what is compiled and pooled once does not count as growth.
await churn(Math.min(end, performance.now() + 30_000))
samples.push(await sample())
while (performance.now() < end) {
  await churn(Math.min(end, performance.now() + 60_000))
  samples.push(await sample())
}

const [first, last] = [samples[0], samples.at(-1)]
for (const what of ['heap', 'sockets', 'timers', 'listeners']) {
  const [before, after] = [first, last].map((each) => Math.max(...each.map((held) => held[what])))
  const allowed = what === 'heap' ? before * 1.1 + 1_000_000 : before + 2
  if (after > allowed) broken += 1
  console.log(
    `${after > allowed ? 'GREW ' : 'stays'}  ${what}: ${before} at first, ${after} at last`
  )
}
const requests = loads.reduce((sum, { counts }) => sum + counts.requests, 0)
const failed = loads.reduce((sum, { counts }) => sum + counts.failed, 0)
console.log(
  `${restarts} restarts beside ${requests} requests to the survivors, ${failed} of which failed`
)
process.exit(broken + failed === 0 ? 0 : 1)

async function churn(until) {
  while (performance.now() < until) {
    const { fixture, port } = await start(`guest-${restarts}`)
    const guest = load(port)
    await pause(Number(values.every) * 1_000)
    guest.stop()
    fixture.signal('SIGTERM')
    const { code } = await fixture.exited
    if (code !== 0) broken += 1
    restarts += 1
  }
}

/** Without load for a moment, so that what is in flight does not count. */
async function sample() {
  for (const each of loads) each.pause()
  await pause(1_000)
  const held = await Promise.all(
    survivors.map(async ({ port }) => (await fetch(`http://127.0.0.1:${port}/held`)).json())
  )
  for (const each of loads) each.resume()
  console.log(
    held
      .map(({ heap, ...rest }) => `${(heap / 1e6).toFixed(1)} MB ${JSON.stringify(rest)}`)
      .join('   ')
  )
  return held
}

async function start(name) {
  const fixture = startFixture(new URL('service.js', import.meta.url), {
    env: { NAME: name, ORCHESTRATOR: `${origin}/services/$register`, REDIS_URL: redis.url },
    execArgv: ['--expose-gc']
  })
  const [, port] = await fixture.waitFor(/at (\d+)/)
  for (;;) {
    const ready = await fetch(`http://127.0.0.1:${port}/readyz`).then(({ ok }) => ok)
    if (ready) return { fixture, port }
    await pause(10)
  }
}

function load(port) {
  const agent = new Agent({ keepAlive: true })
  const counts = { requests: 0, failed: 0 }
  let state = 'running'
  for (let i = 0; i < LOOPS; i++) void loop()
  return {
    counts,
    pause: () => (state = 'paused'),
    resume: () => (state = 'running'),
    stop: () => (state = 'stopped')
  }

  async function loop() {
    while (state !== 'stopped') {
      if (state === 'paused') await pause(50)
      else await call()
    }
    agent.destroy()
  }

  function call() {
    return new Promise((resolve) => {
      const headers = { 'content-type': 'application/json', 'content-length': BODY.length }
      const options = { port, host: '127.0.0.1', method: 'POST', path: '/work', agent, headers }
      const sent = request(options, (response) => {
        response.resume().on('close', () => settle(response.statusCode === 200))
      })
      sent.on('error', () => settle(false))
      sent.end(BODY)

      function settle(ok) {
        counts.requests += 1
        if (!ok) counts.failed += 1
        resolve()
      }
    })
  }
}
