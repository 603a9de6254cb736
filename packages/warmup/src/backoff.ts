/**
 * Exponential with full jitter, so that many who failed together do not return together.
 * @param failures in a row, from 1
 * @returns ms
 */
export function backoff(failures: number, { min, max }: { min: number; max: number }): number {
  return Math.random() * Math.min(max, min * 2 ** Math.min(failures - 1, 30))
}
