// Orchestrators that are down, wrong, slow or forgetful.
import { orchestrator } from '@muster/orchestrator'
import { freePort } from '@muster/testkit'
import Fastify from 'fastify'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { startInstance, timeUntil } from '../instance.js'

/** The longest pause between two attempts, an attempt that hangs until its timeout, and one second. */
const BACK_WITHIN = 1_000 + 1_000 + 1_000

const WRONG = {
  'answers 500 to everything': (_, response) => response.writeHead(500).end('{"detail":"down"}'),
  'answers 429': (_, response) => response.writeHead(429, { 'retry-after': '1' }).end(),
  'accepts and never answers': () => {},
  'answers garbage': (_, response) => response.writeHead(503).end('<html>'.repeat(1_000))
}

export async function* run({ random }) {
  yield await recovers('an orchestrator that is down at boot', async () => async () => {})
  for (const [what, handler] of Object.entries(WRONG)) {
    yield await recovers(`an orchestrator that ${what}`, async (port) => {
      const server = createServer(handler).listen(port, '127.0.0.1')
      await once(server, 'listening')
      return async () => {
        server.closeAllConnections()
        server.close()
        await once(server, 'close')
      }
    })
  }
  yield await comesBack(random)
}

/** @param startWrong starts what is wrong on a port, and returns what ends it */
async function recovers(fault, startWrong) {
  const port = await freePort()
  const endWrong = await startWrong(port)
  const url = `http://127.0.0.1:${port}/services/$register`
  const instance = startInstance({ orchestrator: url })
  await instance.url()
  await pause(1_500)
  const lines = instance.said(40).length
  await endWrong()
  const registry = await startOrchestrator(port)
  const back = await timeUntil(() => isRegistered(port))
  const { code } = await instance.end()
  const left = await count(port)
  await registry.close()
  return {
    fault,
    held: back <= BACK_WITHIN && lines === 1 && left === 0 && code === 0,
    result: `registered ${back} ms after it was right, ${lines} log lines meanwhile, ${left} left behind, exit code ${code}`
  }
}

/** It forgets everything, as one in memory does that is restarted. */
async function comesBack(random) {
  const port = await freePort()
  let registry = await startOrchestrator(port)
  const instance = startInstance({ orchestrator: `http://127.0.0.1:${port}/services/$register` })
  await timeUntil(() => isRegistered(port))
  let slowest = 0
  for (let round = 0; round < 3; round++) {
    await registry.close()
    await pause(random() * 1_000)
    registry = await startOrchestrator(port)
    slowest = Math.max(slowest, await timeUntil(() => isRegistered(port)))
  }
  const lines = instance.said(40).length
  const { code } = await instance.end()
  await registry.close()
  return {
    fault: 'an orchestrator that is restarted empty, 3 times',
    held: slowest <= BACK_WITHIN && lines <= 6 && code === 0,
    result: `registered again after at most ${slowest} ms, ${lines} log lines, exit code ${code}`
  }
}

async function startOrchestrator(port) {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(orchestrator, { ttl: 3_000 })
  await app.listen({ port, host: '127.0.0.1' })
  return app
}

async function count(port) {
  const response = await fetch(`http://127.0.0.1:${port}/services`)
  return (await response.json()).count
}

async function isRegistered(port) {
  return (await count(port)) === 1
}
