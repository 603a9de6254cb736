import type { Cluster, Worker } from 'node:cluster'

/** This process as a worker of `node:cluster`, if it is one. */
export function clusterWorker(): Worker | undefined {
  // Without a channel it is none, and the module need not be loaded.
  if (!process.send) return undefined
  return (process.getBuiltinModule('node:cluster') as unknown as Cluster).worker
}
