import { OptionError } from '@muster/options'
import type { FastifyInstance } from 'fastify'
import type { CheckFunction } from './check.ts'
import { CheckFailedError } from './errors.ts'

/** Limits of `@fastify/under-pressure`; 0 is none. */
export interface PressureOptions {
  /** ms, the mean of a sample. @default 0 */
  maxEventLoopDelay?: number | undefined
  /** From 0 to 1. @default 0 */
  maxEventLoopUtilization?: number | undefined
  /** @default 0 */
  maxHeapUsedBytes?: number | undefined
  /** @default 0 */
  maxRssBytes?: number | undefined
  /** ms between samples. @default 1000 */
  sampleInterval?: number | undefined
  /** Seconds, for the requests that are refused. @default 10 */
  retryAfter?: number | undefined
}

interface UnderPressure {
  isUnderPressure(): boolean
  memoryUsage(): { eventLoopDelay: number; heapUsed: number; rssBytes: number }
}

/** How the pressure is looked at: what lasts for two samples counts. */
export const PRESSURE_CHECK = { interval: 1_000, timeout: 1_000, failures: 2, critical: true }

export async function registerUnderPressure(
  app: FastifyInstance,
  limits: { [Name in keyof PressureOptions]-?: number }
): Promise<void> {
  if (app.hasDecorator('isUnderPressure')) {
    throw new OptionError(
      'readiness: option "pressure": @fastify/under-pressure is registered already and will be used as it is; leave the option out'
    )
  }
  await app.register(await underPressurePlugin(), limits)
}

/** The pressure as a check, where `@fastify/under-pressure` is registered. */
export function pressureCheck(app: FastifyInstance): CheckFunction | undefined {
  if (!app.hasDecorator('isUnderPressure')) return undefined
  const source = app as unknown as UnderPressure
  return () => {
    if (!source.isUnderPressure()) return
    const { eventLoopDelay, heapUsed, rssBytes } = source.memoryUsage()
    const [delay, heap, rss] = [eventLoopDelay, heapUsed / 2 ** 20, rssBytes / 2 ** 20].map(
      Math.round
    )
    throw new CheckFailedError(
      `under pressure (event loop delay ${delay} ms, heap ${heap} MiB, resident ${rss} MiB)`
    )
  }
}

async function underPressurePlugin() {
  try {
    return (await import('@fastify/under-pressure')).default
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new OptionError(
      'readiness: option "pressure" needs @fastify/under-pressure: npm install @fastify/under-pressure'
    )
  }
}
