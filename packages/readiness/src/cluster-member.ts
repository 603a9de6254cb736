import { clusterWorker } from './cluster-worker.ts'
import type { Notifier } from './notifier.ts'
import type { ReadinessState } from './state-machine.ts'

/** What a worker tells its primary. */
export interface WorkerMessage {
  type: 'muster:readiness'
  state: ReadinessState
  cause: string
}

/** Tells the primary of a cluster, which sums up with `clusterReadiness()`. */
export function clusterMember(): Notifier {
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
