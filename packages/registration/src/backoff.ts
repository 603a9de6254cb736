/**
 * Exponential with full jitter, so that many who failed together do not return together.
 * @param failures in a row, from 1
 * @returns ms
 */
export function backoff(failures: number, { min, max }: { min: number; max: number }): number {
  return Math.random() * Math.min(max, min * 2 ** Math.min(failures - 1, 30))
}

/** `value` give or take a tenth. */
export function jittered(value: number): number {
  return value * (0.9 + Math.random() * 0.2)
}

const LONGEST = 300_000

/**
 * Reads a Retry-After header (RFC 9110, 10.2.3): seconds or a date.
 * @returns ms, at most five minutes; 0 where there is none
 */
export function retryAfter(value: string | undefined): number {
  if (value === undefined) return 0
  const wait = /^\s*\d+\s*$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isNaN(wait) ? 0 : Math.min(Math.max(wait, 0), LONGEST)
}
