import { duration, parseOptions, v } from '@muster/options'
import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import { isReady, markerFolder, type MarkerQuestion } from './ready-marker.ts'

const schema = v.strictObject({ interval: v.optional(duration, 250) })

export interface WatchOptions extends MarkerQuestion {
  /** ms between looks at whether the process is still alive. @default 250 */
  interval?: number | undefined
  signal?: AbortSignal | undefined
}

/**
 * Yields whether the marker is there and its process alive (with `parts`: all of them), then each change.
 * A marker that comes or goes is seen at once, a process that dies without removing its own within `interval`.
 * Ends when `signal` is aborted.
 */
export async function* watchReady(options: WatchOptions): AsyncGenerator<boolean, void, undefined> {
  const { signal, interval: given, ...question } = options
  const { interval } = parseOptions('watchReady', schema, { interval: given })
  const folder = markerFolder({ dir: question.dir, service: question.service })
  let watcher: FSWatcher | undefined
  let last: boolean | undefined
  let changed = false
  let wake = (): void => {}
  try {
    while (!signal?.aborted) {
      watcher ??= tryWatch()
      changed = false
      const now = isReady(question)
      if (now !== last) yield (last = now)
      if (!changed && !signal?.aborted) await change()
    }
  } finally {
    watcher?.close()
  }

  /** Until the folder is there, the directory that it will be in. The interval makes up for what cannot be watched. */
  function tryWatch(): FSWatcher | undefined {
    return watchPlace(folder) ?? watchPlace(dirname(folder))
  }

  function watchPlace(place: string): FSWatcher | undefined {
    try {
      const created = watch(place, { persistent: false }, () => {
        if (place !== folder) drop()
        onChange()
      })
      return created.on('error', drop)

      function drop(): void {
        created.close()
        watcher = undefined
      }
    } catch {
      return undefined
    }
  }

  function onChange(): void {
    changed = true
    wake()
  }

  function change(): Promise<void> {
    return new Promise((resolve) => {
      wake = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, interval)
      signal?.addEventListener('abort', wake)
    })
  }
}
