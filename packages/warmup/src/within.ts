export interface Limits {
  signal?: AbortSignal | undefined
  /** ms */
  timeout?: number | undefined
  /** What the rejection is when the time is over. */
  late?: (() => unknown) | undefined
}

/** Settles as `work` does, unless the signal or the time ends it first; `work` itself goes on. */
export async function within<T>(
  work: PromiseLike<T>,
  { signal, timeout, late }: Limits
): Promise<T> {
  let giveUp = (_reason: unknown): void => {}
  const limit = new Promise<never>((_, reject) => (giveUp = reject))
  const leave = (): void => giveUp(signal?.reason)
  if (signal?.aborted) leave()
  signal?.addEventListener('abort', leave)
  const timer = timeout === undefined ? undefined : setTimeout(() => giveUp(late?.()), timeout)
  try {
    return await Promise.race([limit, work])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', leave)
  }
}

/**
 * Runs with a signal that is aborted when the limits end the run, or it failed: what it has begun can stop.
 * @param abandoned gets the value that comes too late
 */
export async function runWithin<T>(
  run: (context: { signal: AbortSignal }) => T | PromiseLike<T>,
  limits: Limits,
  abandoned: (value: T) => void = () => {}
): Promise<T> {
  const end = new AbortController()
  const work = (async () => run({ signal: end.signal }))()
  try {
    return await within(work, limits)
  } catch (error) {
    end.abort(error)
    work.then(abandoned, () => {})
    throw error
  }
}
