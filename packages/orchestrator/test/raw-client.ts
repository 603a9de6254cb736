import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { rawRequest, type RawResponse } from '@muster/testkit'
import { orchestrator, type OrchestratorOptions } from '../src/index.ts'

export const BILLING = {
  id: 'billing',
  url: 'http://10.0.0.7:8080',
  info: { id: 'billing', zone: 'a' }
}

export async function startOrchestrator(
  options: OrchestratorOptions = {},
  prepare?: (app: FastifyInstance) => unknown
): Promise<{ app: FastifyInstance; port: number }> {
  const app = Fastify()
  await prepare?.(app)
  await app.register(orchestrator, options)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, port: portOf(app) }
}

export function portOf(app: FastifyInstance): number {
  return (app.addresses()[0] as AddressInfo).port
}

/** A request written byte by byte, as a client would that is not ours. */
export function send(
  port: number,
  method: string,
  path: string,
  { body, headers = '' }: { body?: unknown; headers?: string } = {}
): Promise<RawResponse> {
  const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)
  const entity =
    body === undefined
      ? ''
      : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n`
  return rawRequest(
    port,
    `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\naccept: */*\r\n${headers}${entity}\r\n${text}`
  )
}

export function register(port: number, fields: object = {}): Promise<RawResponse> {
  return send(port, 'POST', '/services/$register', { body: { ...BILLING, ...fields } })
}
