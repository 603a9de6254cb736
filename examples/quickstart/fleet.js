// npm start: keeps an orchestrator and three services running until Ctrl-C.
import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { fork } from 'node:child_process'
import { createServer } from 'node:net'
import { fileURLToPath, pathToFileURL } from 'node:url'

const NAMES = ['billing', 'catalog', 'search']

/**
 * Starts the fleet as processes of its own on free ports.
 * @param onEvent called with (who, event) for whatever a process says of itself
 */
export async function startFleet({ ttl, onEvent }) {
  const port = await freePort()
  const registry = `http://127.0.0.1:${port}/services`
  const env = {
    ...process.env,
    TTL: String(ttl),
    ORCHESTRATOR: `${registry}/$register`,
    PORT: String(port)
  }

  async function startOrchestrator() {
    // A namespace of its own: an orchestrator that starts anew starts empty, on Redis too.
    const namespace = `quickstart-${randomBytes(4).toString('hex')}`
    const started = start('orchestrator', 'orchestrator.js', { NAMESPACE: namespace })
    await heard(started, ({ what }) => what === 'listening')
    return started
  }

  function start(name, script, extra) {
    const child = fork(fileURLToPath(new URL(script, import.meta.url)), {
      env: { ...env, ...extra }
    })
    const events = []
    child.on('message', (event) => {
      events.push(event)
      onEvent(name, event)
    })
    const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
    return { name, child, events, exited }
  }

  const orchestrator = await startOrchestrator()
  const fleet = `quickstart-${randomBytes(4).toString('hex')}`
  const services = NAMES.map((name) => start(name, 'service.js', { NAME: name, NAMESPACE: fleet }))
  return { registry, orchestrator, services, startOrchestrator }
}

/** Resolves with the first event of `started` that `matches`. */
export async function heard({ child, events, exited, name }, matches) {
  const ended = exited.then(({ code, signal }) => {
    throw new Error(`${name} ended with ${signal ?? `code ${code}`}`)
  })
  ended.catch(() => {})
  for (let i = 0; ; i++) {
    if (i === events.length) await Promise.race([once(child, 'message'), ended])
    if (matches(events[i])) return events[i]
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { registry, orchestrator, services } = await startFleet({
    ttl: 15_000,
    onEvent: (who, { what, url = '' }) => console.log(`${who.padEnd(12)} ${what} ${url}`)
  })
  console.log(`\nwho is there:  curl ${registry}`)
  for (const started of services) {
    const { url } = await heard(started, ({ what }) => what === 'listening')
    console.log(`${started.name.padEnd(13)}  curl ${url}/readyz?verbose`)
  }
  console.log('\nCtrl-C ends the fleet.\n')
  // Ctrl-C in a terminal reaches the processes by itself, and ours is then a second signal, which only hurries them.
  const end = () => [orchestrator, ...services].forEach(({ child }) => child.kill('SIGTERM'))
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
}
