import { parseOptions, slug, v } from '@muster/options'
import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path'
import { MarkerError } from './errors.ts'
import {
  liveMarkersIn,
  type Marker,
  prepareFolder,
  readLiveMarker,
  removeDead,
  removeMarker,
  writeMarker
} from './marker-store.ts'
import { partName } from './part-name.ts'
import { processStart } from './process-start.ts'

export type { Marker }

/** Which marker: `<dir>/<service>/.ready`, or `.ready.<part>`. */
export interface MarkerLocation {
  /** An existing directory that only the service's user can write to. @default MUSTER_READY_DIR, or systemd's RUNTIME_DIRECTORY */
  dir?: string | undefined
  /** A slug. */
  service: string
  /** Which of several processes that make up the service. */
  part?: string | undefined
}

/** Which markers: that of the location, or those of the parts named, or at least so many parts. */
export interface MarkerQuestion extends MarkerLocation {
  parts?: string[] | number | undefined
}

export interface MarkerDeclaration extends MarkerLocation {
  /** A random token of this start. @default a new one */
  incarnation?: string | undefined
  /** ISO 8601. @default when the process started */
  startedAt?: string | undefined
  version?: string | undefined
}

const directory = v.pipe(
  v.string(),
  v.nonEmpty('expected a directory, and neither MUSTER_READY_DIR nor RUNTIME_DIRECTORY is set')
)
const location = {
  dir: v.optional(directory, () => markerDirectory() ?? ''),
  service: slug,
  part: v.optional(partName)
}
const locationSchema = v.strictObject(location)
const declarationSchema = v.strictObject({
  ...location,
  incarnation: v.optional(v.string(), () => randomBytes(8).toString('hex')),
  startedAt: v.optional(v.string(), () => new Date(performance.timeOrigin).toISOString()),
  version: v.optional(v.string(), '')
})
const removalSchema = v.strictObject({ ...location, incarnation: v.optional(v.string()) })
const questionSchema = v.strictObject({
  ...location,
  parts: v.optional(v.union([v.array(partName), v.pipe(v.number(), v.integer(), v.minValue(1))]))
})

/** Where markers go unless told otherwise. */
export function markerDirectory(): string | undefined {
  const { MUSTER_READY_DIR, RUNTIME_DIRECTORY = '' } = process.env
  // systemd.exec(5): several are separated by colons.
  return MUSTER_READY_DIR || RUNTIME_DIRECTORY.split(':')[0] || undefined
}

/**
 * Writes the marker of this process, in place of one that may be there; readers see the old or the new one whole.
 * @throws MUSTER_ERR_MARKER when the directory is missing or not writable
 */
export function declareReady(declaration: MarkerDeclaration): Marker {
  const given = parseOptions('declareReady', declarationSchema, declaration)
  const { incarnation, startedAt, version } = given
  const start = processStart(process.pid) ?? 0
  const marker = { pid: process.pid, incarnation, startedAt, version, processStart: start }
  const path = pathOf(given)
  orMarkerError(path, () => writeMarker(path, marker))
  return marker
}

/**
 * Removes the marker if it is that of `incarnation`, without which: if this process wrote it.
 * @returns whether it did
 * @throws MUSTER_ERR_MARKER when it may not be removed
 */
export function clearReady(
  options: MarkerLocation & { incarnation?: string | undefined }
): boolean {
  const given = parseOptions('clearReady', removalSchema, options)
  const path = pathOf(given)
  const start = processStart(process.pid)
  const isMine = (marker: Marker): boolean =>
    given.incarnation === undefined
      ? marker.pid === process.pid && marker.processStart === start
      : marker.incarnation === given.incarnation
  return orMarkerError(path, () => removeMarker(path, isMine))
}

/** Whether the marker is there and its process alive; with `parts`, whether all of them are. */
export function isReady(question: MarkerQuestion): boolean {
  const { parts = [], ...where } = parseOptions('isReady', questionSchema, question)
  const isLive = (path: string): boolean => readLiveMarker(path) !== undefined
  if (question.parts === undefined) return isLive(pathOf(where))
  if (Array.isArray(parts)) return parts.every((part) => isLive(pathOf({ ...where, part })))
  const live = liveMarkersIn(dirname(pathOf(where))).filter((name) => name !== '.ready')
  return live.length >= parts
}

/** The PID of the ready process, if it is alive. */
export function readyPid(where: MarkerLocation): number | undefined {
  return readLiveMarker(pathOf(parseOptions('readyPid', locationSchema, where)))?.pid
}

/**
 * Creates the folder of the service, and removes what dead processes have left in it.
 * @throws MUSTER_ERR_MARKER when the directory is missing or not writable
 */
export function prepareMarker(where: MarkerLocation): void {
  const path = pathOf(parseOptions('marker', locationSchema, where))
  orMarkerError(path, () => prepareFolder(dirname(path)))
}

/** Removes the markers of dead processes of the service. */
export function removeDeadMarkers(where: MarkerLocation): void {
  const path = pathOf(parseOptions('marker', locationSchema, where))
  orMarkerError(path, () => removeDead(dirname(path)))
}

export function markerFolder(where: MarkerLocation): string {
  return dirname(pathOf(parseOptions('marker', locationSchema, where)))
}

function pathOf({ dir, service, part }: v.InferOutput<typeof locationSchema>): string {
  return join(dir, service, part === undefined ? '.ready' : `.ready.${part}`)
}

function orMarkerError<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    throw new MarkerError(path, (cause as Error).message, { cause })
  }
}
