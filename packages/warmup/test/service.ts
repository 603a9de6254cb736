import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { readiness, type ReadinessOptions } from '@muster/readiness'
import { warmup, type WarmupOptions } from '../src/index.ts'

export interface LogLine {
  level: number
  msg: string
  err?: { type: string; message: string; stack: string }
  [detail: string]: unknown
}

/** An app that warms up, closed when the test is over, and what it logs. Not listening yet. */
export async function createService(
  options: WarmupOptions,
  { server = {}, ready = {} }: { server?: FastifyServerOptions; ready?: ReadinessOptions } = {}
): Promise<{ app: FastifyInstance; log: LogLine[] }> {
  const log: LogLine[] = []
  const stream = { write: (line: string) => void log.push(JSON.parse(line)) }
  const app = Fastify({ logger: { level: 'info', stream }, ...server })
  onTestFinished(async () => {
    await app.readiness?.drain()
    await app.close()
    process.exitCode = undefined
  })
  await app.register(readiness, { service: 'test', ...ready })
  await app.register(warmup, options)
  app.get('/', async () => 'served')
  return { app, log }
}

export async function listen(app: FastifyInstance): Promise<string> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

export async function get(url: string) {
  const response = await fetch(url)
  return { status: response.status, headers: response.headers, body: await response.text() }
}

/** A promise to be settled from outside, as a run or what it waits for. */
export function controlled<T = string>() {
  let land = (_value: T): void => {}
  let crash = (_error: unknown): void => {}
  const promise = new Promise<T>((resolve, reject) => {
    land = resolve
    crash = reject
  })
  promise.catch(() => {})
  return { promise, land, crash, run: () => promise }
}

/** A run that fails `times` times, then answers. */
export function flaky(times: number, failure: (run: number) => unknown = () => new Error('down')) {
  let runs = 0
  const run = async (): Promise<string> => {
    runs += 1
    if (runs <= times) throw failure(runs)
    return `run ${runs}`
  }
  return {
    run,
    get runs() {
      return runs
    }
  }
}
