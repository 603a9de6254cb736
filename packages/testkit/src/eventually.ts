import { setTimeout as pause } from 'node:timers/promises'

/**
 * Runs `attempt` until it no longer throws and returns what it returned.
 * @param deadline ms after which the last failure is thrown
 */
export async function eventually<T>(
  attempt: () => T | Promise<T>,
  { deadline = 10_000, every = 10 }: { deadline?: number; every?: number } = {}
): Promise<T> {
  const end = performance.now() + deadline
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > end) throw error
      await pause(every)
    }
  }
}
