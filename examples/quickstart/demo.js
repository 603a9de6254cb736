// npm run demo: an orchestrator and three services come up, announce themselves and go down, in front of you.
import { setTimeout as pause } from 'node:timers/promises'
import { heard, startFleet } from './fleet.js'

const TTL = 2_000
const start = performance.now()
const done = []
let current = 'starting the processes'

function say(who, what) {
  const seconds = ((performance.now() - start) / 1_000).toFixed(2).padStart(6)
  console.log(`${seconds} s  ${who.padEnd(12)}  ${what}`)
}

async function step(name, work, deadline = 10_000) {
  current = name
  const late = pause(deadline, undefined, { ref: false }).then(() => {
    throw new Error(`it did not happen within ${deadline} ms`)
  })
  const result = await Promise.race([work(), late])
  done.push(name)
  return result
}

async function until(condition) {
  while (!(await condition())) await pause(20)
}

async function registered(fleet) {
  const response = await fetch(fleet.registry).catch(() => undefined)
  const { services = [] } = response?.ok ? await response.json() : {}
  return services.map(({ id }) => id)
}

async function demo() {
  const { REDIS_URL } = process.env
  console.log(
    `An orchestrator and three services as processes of their own, ${REDIS_URL ? 'on Redis' : 'without Redis'}.\n`
  )
  const fleet = await startFleet({ ttl: TTL, onEvent: (who, { what }) => say(who, what) })
  const [first, second, third] = fleet.services
  let { orchestrator } = fleet
  const running = () => [orchestrator, ...fleet.services].map(({ child }) => child)
  process.on('exit', () => running().forEach((child) => child.kill('SIGKILL')))

  const isThere = async ({ name }) => (await registered(fleet)).includes(name)
  const urlOf = async (service) => (await heard(service, ({ what }) => what === 'listening')).url
  const present = async ({ name }) => {
    const response = await fetch(`${await urlOf(third)}/peers/${name}`)
    return (await response.json()).length > 0
  }

  await step('three services come up and register', async () => {
    for (const service of fleet.services) {
      for (const what of [/^listening/, /^probed/, /^ready in/, /^registered/, /^first ping/]) {
        await heard(service, (event) => what.test(event.what))
      }
    }
    await until(async () => (await registered(fleet)).length === 3)
    say('you', `GET /services: ${(await registered(fleet)).sort().join(', ')}`)
  })
  if (REDIS_URL) {
    await step('they see each other in Redis', () =>
      until(async () => (await present(first)) && present(second))
    )
  }

  const url = await urlOf(first)
  await step(
    'SIGTERM with work in flight: it leaves the registry while it still listens',
    async () => {
      say('you', `POST ${url}/work, then SIGTERM to ${first.name}`)
      first.work = fetch(`${url}/work`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ steps: 600, padding: 'x'.repeat(10_000) })
      }).then(async (response) => ({ status: response.status, ...(await response.json()) }))
      await pause(200)
      first.child.kill('SIGTERM')
      await until(async () => !(await isThere(first)))
      const { status } = await fetch(`${url}/livez`)
      if (status !== 200) throw new Error(`it left, but /livez answered ${status}`)
      say('you', `${first.name} has left the registry, and still answers: GET /livez ${status}`)
    }
  )
  await step('its request ends with 503 MUSTER_ERR_SHUTDOWN', async () => {
    const { status, code, retryable } = await first.work
    say('you', `POST /work: ${status} ${code}, retryable: ${retryable}`)
    if (status !== 503 || code !== 'MUSTER_ERR_SHUTDOWN')
      throw new Error(`it was ${status} ${code}`)
  })
  await step('it exits with code 0', async () => {
    const { code, signal } = await first.exited
    say(first.name, `exited with ${signal ?? `code ${code}`}`)
    if (code !== 0) throw new Error(`it was ${signal ?? code}`)
  })
  if (REDIS_URL)
    await step('it is gone from Redis', () => until(async () => !(await present(first))))

  await step('SIGKILL: it expires', async () => {
    say('you', `SIGKILL to ${second.name}`)
    second.child.kill('SIGKILL')
    await until(async () => !(await isThere(second)))
    say('you', `${second.name} has expired`)
    if (REDIS_URL) await until(async () => !(await present(second)))
  })

  await step(
    'the orchestrator starts again, empty: the third comes back by itself',
    async () => {
      say('you', 'the orchestrator is killed and started again, empty')
      orchestrator.child.kill('SIGKILL')
      await orchestrator.exited
      orchestrator = await fleet.startOrchestrator()
      if (await isThere(third)) throw new Error('the registry was not empty')
      await until(() => isThere(third))
      say('you', `${third.name} is back`)
    },
    15_000
  )

  await step('the rest ends with code 0', async () => {
    third.child.kill('SIGTERM')
    const { code } = await third.exited
    orchestrator.child.kill('SIGTERM')
    const { code: last } = await orchestrator.exited
    if (code !== 0 || last !== 0) throw new Error(`they were ${code} and ${last}`)
  })
}

try {
  await demo()
  const seconds = ((performance.now() - start) / 1_000).toFixed(1)
  console.log(
    `\nAll of it happened, in ${seconds} s:\n${done.map((name) => `  ✓ ${name}`).join('\n')}`
  )
  process.exit(0)
} catch (error) {
  console.error(`\nThis did not happen: ${current}: ${error.message}`)
  process.exit(1)
}
