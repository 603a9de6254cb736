import { parseOptions, v } from '@muster/options'
import { clusterWorker } from './cluster-worker.ts'
import { clearReady, declareReady, markerDirectory, prepareMarker } from './ready-marker.ts'
import { partName } from './part-name.ts'
import type { Notifier } from './notifier.ts'
import type { StateChange } from './state-machine.ts'

export interface MarkerFileOptions {
  /** An existing directory that only the service's user can write to. @default MUSTER_READY_DIR, or systemd's RUNTIME_DIRECTORY */
  dir?: string | undefined
  /** Which of several processes that make up the service. @default the id of a cluster worker, else none */
  part?: string | undefined
  /** `true`: a marker that cannot be written is worth a warning, and no reason to fail. @default false */
  optional?: boolean | undefined
}

const schema = v.strictObject({
  dir: v.optional(v.string()),
  part: v.optional(partName),
  optional: v.optional(v.boolean(), false)
})

/** A file that is there while the service is ready: `<dir>/<service>/.ready`, or `.ready.<part>`. */
export function markerFile(options: MarkerFileOptions = {}): Notifier {
  const { dir, part, optional } = parseOptions('markerFile', schema, options)
  return {
    name: 'the marker file',
    present: () => Boolean(dir ?? markerDirectory()),
    start({ identity: { service, incarnation, startedAt, version }, log, fail }) {
      const where = { dir, service, part: part ?? clusterWorker()?.id.toString() }
      const mine = { ...where, incarnation }
      if (!prepared()) return { change() {} }
      // For a process that ends without closing its app.
      process.once('exit', clear)
      return { change, close }

      function prepared(): boolean {
        try {
          prepareMarker(where)
          return true
        } catch (err) {
          if (!optional) throw err
          log.warn({ err }, 'going on without a marker file')
          return false
        }
      }

      function change({ state }: StateChange): void {
        if (state !== 'ready') return void clearReady(mine)
        try {
          declareReady({ ...mine, startedAt, version })
        } catch (error) {
          if (!optional) fail((error as Error).message)
          throw error
        }
      }

      function close(): void {
        process.off('exit', clear)
        clear()
      }

      function clear(): void {
        try {
          clearReady(mine)
        } catch (err) {
          log.warn({ err }, 'the marker file is left behind')
        }
      }
    }
  }
}
