// Starts four instances and watches them: one crashes, one leaves, one freezes and comes back.
// Runs on a Redis of its own, or on the one that REDIS_URL names.
import { presence } from '@muster/presence'
import { startRedis } from '@muster/testkit'
import Fastify from 'fastify'
import { fork } from 'node:child_process'

const server = process.env.REDIS_URL ? undefined : await startRedis()
const redis = process.env.REDIS_URL ?? server.url
const start = performance.now()
const fleet = Object.fromEntries(
  ['ann', 'bob', 'cid', 'dot'].map((name) => [
    name,
    fork(new URL('instance.js', import.meta.url), [name, redis])
  ])
)

const app = Fastify()
await app.register(presence, { service: 'watcher', redis })
const watching = new AbortController()
const seen = []
const watched = watch()

await until(() => ready().size === 4)
say('', 'all four are ready: ann crashes, bob leaves, cid freezes')
fleet.ann.kill('SIGKILL')
fleet.bob.kill('SIGTERM')
fleet.cid.kill('SIGSTOP')
await until(() => told('expire', 'ann') && told('leave', 'bob') && !isThere('cid'))
say('', 'cid is thawed')
fleet.cid.kill('SIGCONT')
await until(() => isThere('cid'))

const left = (await app.presence.instances('inference')).map(({ instanceId }) => instanceId)
say('', `left: ${left.sort().join(', ')}`)
watching.abort()
await watched
await app.close()
for (const child of Object.values(fleet)) child.kill('SIGKILL')
await server?.close()
process.exit(left.join() === 'cid,dot' ? 0 : 1)

async function watch() {
  for await (const event of app.presence.watch('inference', { signal: watching.signal })) {
    const instances = event.type === 'snapshot' ? event.instances : [event.instance]
    for (const { instanceId, status, suspect } of instances) {
      seen.push({ type: event.type, instanceId, status, suspect })
      say(instanceId, `${event.type} ${status}${suspect ? ', suspect' : ''}`)
    }
  }
}

function ready() {
  return new Set(
    seen.filter(({ status }) => status === 'ready').map(({ instanceId }) => instanceId)
  )
}

function told(type, instanceId) {
  return seen.some((one) => one.type === type && one.instanceId === instanceId)
}

function isThere(name) {
  const last = seen.findLast(({ instanceId }) => instanceId === name)
  return last !== undefined && !['leave', 'expire'].includes(last.type) && !last.suspect
}

function say(who, what) {
  const seconds = ((performance.now() - start) / 1_000).toFixed(2).padStart(6)
  console.log(`${seconds} s  ${who.padEnd(4)} ${what}`)
}

async function until(condition) {
  const end = performance.now() + 20_000
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not happen within 20 s')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
