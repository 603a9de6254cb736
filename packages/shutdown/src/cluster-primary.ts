import { once } from 'node:events'
import type { ShutdownSignal } from './index.ts'
import { readPrimaryOptions } from './options.ts'

export interface ClusterPrimaryOptions {
  /** ms after which workers that are still there are killed: longer than the workers' own budget. @default 30000 */
  budget?: number | undefined
  /** Signals that are passed on. @default ['SIGTERM', 'SIGINT'] */
  signals?: ShutdownSignal[] | undefined
}

/**
 * For the primary of a `node:cluster`: passes the first signal on to every worker as SIGTERM, waits until all have
 * exited, kills those that are still there when the budget is over, and exits with 0 only if every worker did.
 * @returns what takes the signal handlers away again
 * @throws MUSTER_ERR_OPTION when an option is wrong
 */
export function clusterPrimary(options: ClusterPrimaryOptions = {}): () => void {
  const { budget, signals } = readPrimaryOptions(options)
  let ending = false
  for (const signal of signals) process.on(signal, end)
  return () => {
    for (const signal of signals) process.off(signal, end)
  }

  function end(): void {
    if (ending) return
    ending = true
    void endWorkers().then((clean) => process.exit(clean ? 0 : 1))
  }

  async function endWorkers(): Promise<boolean> {
    const { default: cluster } = await import('node:cluster')
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined)
    const exits = workers.map(async ({ process: child }) => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
      const [code] = await once(child, 'exit')
      return code as number | null
    })
    for (const { process: child } of workers) child.kill('SIGTERM')
    const timer = setTimeout(() => {
      for (const { process: child } of workers) child.kill('SIGKILL')
    }, budget)
    const codes = await Promise.all(exits)
    clearTimeout(timer)
    return codes.every((code) => code === 0)
  }
}
