import { presence, type PresenceOptions } from '@muster/presence'
import { readiness, type ReadinessOptions } from '@muster/readiness'
import Fastify, { type FastifyInstance } from 'fastify'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface LogLine {
  level: number
  msg: string
  [field: string]: unknown
}

export interface Service {
  app: FastifyInstance
  log: LogLine[]
  /** Log lines that warn or worse. */
  warnings: string[]
  listen: () => Promise<string>
}

/** An app with presence, closed when the test is over. Not listening yet. */
export async function createService(
  options: PresenceOptions,
  ready: ReadinessOptions = {},
  finish: (close: () => Promise<void>) => void = onTestFinished
): Promise<Service> {
  const log: LogLine[] = []
  const warnings: string[] = []
  const write = (text: string): void => {
    const line = JSON.parse(text) as LogLine
    log.push(line)
    if (line.level >= 40) warnings.push(line.msg)
  }
  const app = Fastify({
    logger: { level: 'info', stream: { write } },
    forceCloseConnections: 'idle'
  })
  await app.register(readiness, { service: 'billing', ...ready })
  await app.register(presence, options)
  app.get('/', async () => 'served')
  finish(async () => {
    await app.close()
    process.exitCode = undefined
  })
  return {
    app,
    log,
    warnings,
    async listen() {
      await app.listen({ port: 0, host: '127.0.0.1' })
      return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
    }
  }
}
