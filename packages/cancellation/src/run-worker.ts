import type { Worker } from 'node:worker_threads'
import { WorkerEndedError } from './errors.ts'
import type { Cancellation } from './token.ts'

/**
 * The first message of `worker`.
 * @param ceiling aborts when a worker that has not stopped by itself has to be terminated
 * @throws what the worker threw, or MUSTER_ERR_WORKER_ENDED, whose cause is the reason if it was terminated
 */
export function runWorker<T>(
  worker: Worker,
  token: Cancellation,
  ceiling: AbortSignal
): Promise<T> {
  return new Promise((resolve, reject) => {
    const terminate = () => void worker.terminate()
    if (ceiling.aborted) terminate()
    else ceiling.addEventListener('abort', terminate, { once: true })
    worker.once('message', resolve)
    worker.once('error', (error: Error & { code?: unknown }) => {
      // A reason that was thrown in the worker comes here as a copy.
      const { reason } = token
      reject(reason && reason.code === error.code ? reason : error)
    })
    worker.once('exit', (code) => {
      ceiling.removeEventListener('abort', terminate)
      reject(new WorkerEndedError(code, { cause: token.reason }))
    })
  })
}
