import { readFileSync } from 'node:fs'

const UNKNOWN = 0

/**
 * What tells two processes of one PID apart: when it started, in clock ticks since boot (proc(5), stat, field 22).
 * @returns undefined when there is no such process, 0 where it cannot be told
 */
export function processStart(pid: number): number | undefined {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie is dead, although its PID is still taken.
    return state === 'Z' || state === 'X' ? undefined : Number(fields[18])
  } catch {
    return UNKNOWN
  }
}

/** Whether the process that had `pid` and started at `start` is still there. */
export function isAlive(pid: number, start: number): boolean {
  const found = processStart(pid)
  return found !== undefined && (found === start || found === UNKNOWN || start === UNKNOWN)
}
