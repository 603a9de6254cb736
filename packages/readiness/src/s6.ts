import { parseOptions, v } from '@muster/options'
import { closeSync, existsSync, fstatSync, readFileSync, writeSync } from 'node:fs'
import { clusterWorker } from './cluster-worker.ts'
import type { Notifier } from './notifier.ts'

export interface S6Options {
  /** The descriptor that the service directory's `notification-fd` names. @default read from that file, where the run script stays in its directory */
  fd?: number | undefined
}

const schema = v.strictObject({ fd: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))) })

/** Tells s6-supervise once: a newline on the notification descriptor, which is then closed. */
export function s6(options: S6Options = {}): Notifier {
  const { fd = serviceDirectoryFd() } = parseOptions('s6', schema, options)
  return {
    name: 's6',
    present: () => fd !== undefined && isPipe(fd) && !clusterWorker(),
    start: () => ({
      change({ state, previous }) {
        if (fd === undefined || state !== 'ready' || previous !== 'starting') return
        writeSync(fd, '\n')
        closeSync(fd)
      }
    })
  }
}

function serviceDirectoryFd(): number | undefined {
  if (!existsSync('supervise')) return undefined
  try {
    return Number.parseInt(readFileSync('notification-fd', 'utf8')) || undefined
  } catch {
    return undefined
  }
}

function isPipe(fd: number): boolean {
  try {
    return fstatSync(fd).isFIFO()
  } catch {
    return false
  }
}
