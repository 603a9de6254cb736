// A rolling restart under load: three instances behind a proxy, replaced one after the other, and what it cost.
// node run.js [--rounds 3] [--only muster] [--proxy haproxy]
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '@muster/testkit'
import { startLoad } from './load.js'
import { isReady, startHaproxy, startNginx } from './proxies.js'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string' },
    proxy: { type: 'string' }
  }
})
const rounds = Number(values.rounds)
const PROXIES = { haproxy: startHaproxy, nginx: startNginx }
const RIVALS = ['close-with-grace', 'by-hand', 'terminus', 'lightship']
const ENOUGH = 50_000
/** The drain delay, the longest request, and what ours may take beyond. */
const LONGEST_EXIT = 1_000 + 2_500 + 150

const runs = Object.keys(PROXIES)
  .filter((proxy) => !values.proxy || values.proxy === proxy)
  .flatMap((proxy) => [
    { proxy, service: 'muster', rounds },
    ...(proxy === 'haproxy' ? RIVALS : []).map((service) => ({ proxy, service, rounds: 1 }))
  ])
  .filter(({ service }) => !values.only || values.only === service)

const running = new Set()
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))
const results = []
for (const run of runs) {
  console.log(`${run.service} behind ${run.proxy}, ${run.rounds} × 3 restarts …`)
  results.push(await restartUnderLoad(run))
}
print(results)
const broken = results.filter(({ service }) => service === 'muster').flatMap(promisesBroken)
for (const promise of broken) console.error(`broken: ${promise}`)
process.exit(broken.length > 0 ? 1 : 0)

async function restartUnderLoad({ proxy, service, rounds }) {
  const [front, ...ports] = await Promise.all(Array.from({ length: 4 }, () => freePort()))
  const instances = await Promise.all(ports.map((port) => start(service, port)))
  const { stop } = await PROXIES[proxy](front, ports)
  await pause(1_000)
  const load = startLoad(front)
  await pause(1_000)
  const exits = []
  // On a slow machine longer, until there are enough requests for the claim.
  const enough = service === 'muster' && rounds >= 3 ? ENOUGH : 0
  for (let round = 0; round < rounds || load.counts.requests < enough; round++) {
    for (const [i, port] of ports.entries()) {
      exits.push(await end(instances[i]))
      instances[i] = await start(service, port)
      await pause(1_000)
    }
  }
  await load.stop()
  for (const child of instances) child.kill('SIGKILL')
  await stop()
  return { service, proxy, rounds, ...load.counts, failures: load.failures, exits }
}

async function start(service, port) {
  const script = fileURLToPath(new URL(`services/${service}.js`, import.meta.url))
  const child = fork(script, { env: { ...process.env, PORT: String(port) } })
  running.add(child)
  child.once('exit', () => running.delete(child))
  while (!(await isReady(port))) await pause(20)
  return child
}

/** SIGTERM, and SIGKILL after 15 s. */
async function end(child) {
  const begin = performance.now()
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
  const [code, signal] = await exited
  clearTimeout(timer)
  return { code: code ?? signal, ms: Math.round(performance.now() - begin) }
}

function promisesBroken({
  proxy,
  requests,
  failed,
  slowFailed,
  streams,
  streamsTold,
  exits,
  rounds
}) {
  const slowest = Math.max(...exits.map(({ ms }) => ms))
  const held = {
    [`${failed} of ${requests} requests failed`]: failed === 0,
    [`${requests} requests are too few for the claim`]: requests >= ENOUGH || rounds < 3,
    [`${slowFailed} slow requests failed`]: slowFailed === 0,
    [`${streams - streamsTold} of ${streams} streams were not told`]: streams === streamsTold,
    'an exit code was not 0': exits.every(({ code }) => code === 0),
    [`an exit took ${slowest} ms`]: slowest <= LONGEST_EXIT
  }
  return Object.keys(held)
    .filter((promise) => !held[promise])
    .map((promise) => `behind ${proxy}: ${promise}`)
}

function print(results) {
  console.table(
    results.map(({ service, proxy, exits, failures, ...counts }) => ({
      service,
      proxy,
      restarts: exits.length,
      requests: counts.requests,
      failed: counts.failed,
      slow: counts.slow,
      'slow failed': counts.slowFailed,
      'streams told': `${counts.streamsTold} of ${counts.streams}`,
      'exit codes': [...new Set(exits.map(({ code }) => code))].join(' '),
      'slowest exit': `${Math.max(...exits.map(({ ms }) => ms))} ms`,
      failures: Object.entries(failures)
        .map(([what, n]) => `${what}: ${n}`)
        .join(', ')
    }))
  )
}
