import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { isAlive, processStart } from './process-start.ts'

/** What a marker says: the PID on the first line, the rest as JSON on the second. */
export interface Marker {
  readonly pid: number
  /** The random token of the start that wrote it. */
  readonly incarnation: string
  /** ISO 8601, UTC. */
  readonly startedAt: string
  readonly version: string
  /** When the process started, in clock ticks since boot; 0 where that is not known. */
  readonly processStart: number
}

const MODE = 0o644
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Puts a marker there, in place of one that may be there; readers see the old or the new one whole. */
export function writeMarker(path: string, { pid, ...details }: Marker): void {
  const temporary = temporaryFor(path)
  createFolder(dirname(path))
  const file = openSync(temporary, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, MODE)
  try {
    fchmodSync(file, MODE)
    writeFileSync(file, `${pid}\n${JSON.stringify(details)}\n`)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  } finally {
    closeSync(file)
  }
}

/** What is there, if it is a marker and its process alive. A symbolic link is no marker. */
export function readLiveMarker(path: string): Marker | undefined {
  const marker = readMarker(path)
  return marker && isAlive(marker.pid, marker.processStart) ? marker : undefined
}

/** The live markers in a folder, by file name. */
export function liveMarkersIn(folder: string): string[] {
  return namesIn(folder).filter((name) => isMarkerName(name) && readLiveMarker(join(folder, name)))
}

/** Removes a marker if it is as `condition` says, and no other. */
export function removeMarker(path: string, condition: (marker: Marker) => boolean): boolean {
  const seen = readMarker(path)
  if (!seen || !condition(seen)) return false
  // A successor may put its own there between the look and the removal: so it is taken aside and looked at again.
  const aside = temporaryFor(path)
  try {
    renameSync(path, aside)
  } catch (error) {
    if (isError(error, 'ENOENT')) return false
    throw error
  }
  const taken = readMarker(aside)
  const mine = !taken || condition(taken)
  try {
    if (!mine) linkSync(aside, path)
  } catch (error) {
    // An even later successor was faster.
    if (!isError(error, 'EEXIST')) throw error
  } finally {
    rmSync(aside, { force: true })
  }
  return mine
}

/** Creates the folder, makes sure that it can be written to, and removes what dead processes have left in it. */
export function prepareFolder(folder: string): void {
  createFolder(folder)
  const trial = temporaryFor(join(folder, 'trial'))
  closeSync(openSync(trial, O_CREAT | O_EXCL | O_WRONLY, MODE))
  rmSync(trial)
  removeDead(folder)
}

/** Removes what dead processes have left in a folder. */
export function removeDead(folder: string): void {
  for (const name of namesIn(folder)) {
    const path = join(folder, name)
    const [, writer] = /^\.tmp\.(\d+)\./.exec(name) ?? []
    if (writer && processStart(Number(writer)) === undefined) rmSync(path, { force: true })
    if (isMarkerName(name))
      removeMarker(path, (marker) => !isAlive(marker.pid, marker.processStart))
  }
}

function readMarker(path: string): Marker | undefined {
  try {
    const file = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    try {
      const [pid = '', details] = readFileSync(file, 'utf8').split('\n')
      if (!/^[1-9]\d*$/.test(pid)) return undefined
      const unknown = { incarnation: '', startedAt: '', version: '', processStart: 0 }
      return { ...unknown, ...JSON.parse(details || '{}'), pid: Number(pid) }
    } finally {
      closeSync(file)
    }
  } catch {
    return undefined
  }
}

function createFolder(folder: string): void {
  try {
    mkdirSync(folder, 0o755)
  } catch (error) {
    if (!isError(error, 'EEXIST') || !lstatSync(folder).isDirectory()) throw error
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function isMarkerName(name: string): boolean {
  return /^\.ready(\.|$)/.test(name)
}

function temporaryFor(path: string): string {
  return join(dirname(path), `.tmp.${process.pid}.${randomBytes(8).toString('hex')}`)
}

function isError(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code
}
