import type { Cluster, Worker } from 'node:cluster'
import type { Notifier } from './notifier.ts'
import type { ReadinessState } from './state-machine.ts'

/** What a worker tells its primary. */
export interface WorkerMessage {
  type: 'muster:readiness'
  state: ReadinessState
  cause: string
}

/** This process as a worker of `node:cluster`, if it is one. */
export function clusterWorker(): Worker | undefined {
  // Without a channel it is none, and the module need not be loaded.
  if (!process.send) return undefined
  return (process.getBuiltinModule('node:cluster') as unknown as Cluster).worker
}

/** Tells the primary of a cluster, which sums up with `clusterReadiness()`. */
export function clusterPrimary(): Notifier {
  return {
    name: 'the cluster primary',
    present: () => clusterWorker() !== undefined,
    start: () => ({
      change({ state, cause }) {
        const message: WorkerMessage = { type: 'muster:readiness', state, cause }
        if (process.connected) process.send?.(message, undefined, undefined, ignore)
      }
    })
  }
}

/** A primary that is gone needs no news. */
function ignore(): void {}
