import Fastify, { type FastifyInstance } from 'fastify'
import { registration, type RegistrationOptions } from '../src/index.ts'
import { eventually } from '@muster/testkit'

export interface Line {
  level: number
  msg: string
  [field: string]: unknown
}

export interface Service {
  app: FastifyInstance
  /** What it has logged. */
  lines: Line[]
  /** The log lines whose message matches. */
  said(pattern: RegExp): Line[]
  state(expected: string): Promise<void>
}

/** A service that registers, listening on a loopback port. */
export async function startService(
  options: string | URL | RegistrationOptions,
  {
    port = 0,
    host = '127.0.0.1',
    prepare
  }: {
    port?: number
    host?: string
    prepare?: (app: FastifyInstance) => unknown
  } = {}
): Promise<Service> {
  const lines: Line[] = []
  const app = Fastify({
    logger: {
      level: 'info',
      stream: { write: (line: string) => void lines.push(JSON.parse(line)) }
    }
  })
  await prepare?.(app)
  await app.register(registration, options)
  app.get('/api/v1/configs', () => [{ name: 'default' }])
  await app.listen({ port, host })
  return {
    app,
    lines,
    said: (pattern) => lines.filter(({ msg }) => pattern.test(msg)),
    state: (expected) =>
      eventually(() => {
        const { state } = app.registration
        if (state !== expected) throw new Error(`${state} instead of ${expected}`)
      })
  }
}
