import { StoreUnavailableError } from './errors.ts'

/** @throws MUSTER_ERR_STORE_UNAVAILABLE when `work` takes longer than `timeout` ms */
export async function within<T>(timeout: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new StoreUnavailableError(`no answer within ${timeout} ms`)),
      timeout
    )
  })
  try {
    return await Promise.race([work(), tooLate])
  } finally {
    clearTimeout(timer)
  }
}
