import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { readiness, type ReadinessOptions, type StateChange } from '../src/index.ts'

/** An app with readiness, closed when the test is over. Not listening yet. */
export async function createService(
  options: ReadinessOptions = {},
  server: FastifyServerOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify(server)
  await app.register(readiness, { service: 'test', ...options })
  app.get('/', async () => 'served')
  onTestFinished(async () => {
    await app.close()
    process.exitCode = undefined
  })
  return app
}

export async function listen(app: FastifyInstance, host = '127.0.0.1'): Promise<string> {
  await app.listen({ port: 0, host })
  const { port } = app.server.address() as AddressInfo
  return `http://127.0.0.1:${port}`
}

export function changesOf(app: FastifyInstance): StateChange[] {
  const changes: StateChange[] = []
  app.readiness.on('change', (change) => changes.push(change))
  return changes
}

export async function get(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers })
  return { status: response.status, headers: response.headers, body: await response.text() }
}
