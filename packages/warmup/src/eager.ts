import { AsyncResource } from 'node:async_hooks'
import { OptionError } from '@muster/options'
import { WarmingUpError } from './errors.ts'
import { runWithin, within } from './within.ts'

export interface RunContext {
  /** Aborted when nobody will use the result any more. */
  signal: AbortSignal
}

export type Run<T = unknown> = (context: RunContext) => T | PromiseLike<T>

/** How long one waits; leaving does not end what others wait for. */
export interface WaitOptions {
  signal?: AbortSignal | undefined
  /** ms after which it rejects with MUSTER_ERR_WARMING_UP. */
  timeout?: number | undefined
}

/** A value that is made once, however many ask for it. Promises it returns need not be awaited. */
export interface Eager<T> {
  /** The value, once it is there. */
  readonly value: T | undefined
  /** The value, or joins the flight that is bringing it; starts one where there is none. */
  get(options?: WaitOptions): Promise<T>
  /**
   * Brings a new value by a flight that starts after this call; those who call meanwhile share it.
   * The present value serves until then, and stays if the flight fails.
   */
  refresh(options?: WaitOptions): Promise<T>
  /** Ends the flight: who waits gets `reason`, and nobody joins it any more. The value stays. */
  cancel(reason?: unknown): void
}

interface Flight<T> {
  landing: Promise<T>
  cancel(reason: unknown): void
}

/**
 * Makes a value once: all who ask while `run` is under way share that run, success is final, and after a failure
 * the next one to ask starts afresh. Nothing runs before the first `get()`.
 */
export function eager<T>(run: Run<T>): Eager<T> {
  return new SingleFlight(run)
}

export class SingleFlight<T> implements Eager<T> {
  readonly #run: Run<T>
  /** A flight belongs to nobody: it does not run in the async context of the request that happened to start it. */
  readonly #nobody = new AsyncResource('muster.eager')
  #adopted: Run<T> | undefined
  #flight: Flight<T> | undefined
  #landed: { value: T } | undefined

  constructor(run: Run<T>) {
    this.#run = run
  }

  get value(): T | undefined {
    return this.#landed?.value
  }

  get(options: WaitOptions = {}): Promise<T> {
    if (this.#landed) return Promise.resolve(this.#landed.value)
    return join((this.#flight ?? this.#depart()).landing, options)
  }

  refresh(options: WaitOptions = {}): Promise<T> {
    const fly = (): Promise<T> => (this.#flight ?? this.#depart()).landing
    return join(this.#flight ? this.#flight.landing.then(fly, fly) : fly(), options)
  }

  cancel(reason?: unknown): void {
    const flight = this.#flight
    this.#flight = undefined
    flight?.cancel(reason)
  }

  forget(reason?: unknown): void {
    this.cancel(reason)
    this.#landed = undefined
  }

  /**
   * From now on each flight is what `wrap` makes of the run.
   * @returns ends that, and forgets the value
   * @throws MUSTER_ERR_OPTION when it is adopted already
   */
  adopt(wrap: (run: Run<T>) => Run<T>): () => void {
    if (this.#adopted) {
      throw new OptionError('warmup: an eager() has one task, and one app until that is closed')
    }
    this.#adopted = wrap(this.#run)
    return () => {
      this.#adopted = undefined
      this.forget()
    }
  }

  #depart(): Flight<T> {
    const end = new AbortController()
    const run = this.#adopted ?? this.#run
    const work = this.#nobody.runInAsyncScope(() => runWithin(run, { signal: end.signal }))
    const landing = work.then(
      (value) => {
        if (this.#leave(flight)) this.#landed = { value }
        return value
      },
      (error: unknown) => {
        this.#leave(flight)
        throw error
      }
    )
    landing.catch(() => {})
    const flight = { landing, cancel: (reason: unknown) => end.abort(reason) }
    this.#flight = flight
    return flight
  }

  /** Only its own flight: after a cancellation another one may be under way. */
  #leave(flight: Flight<T>): boolean {
    if (this.#flight !== flight) return false
    this.#flight = undefined
    return true
  }
}

function join<T>(landing: Promise<T>, { signal, timeout }: WaitOptions): Promise<T> {
  const late = () => new WarmingUpError('the value')
  const joined = within(landing, { signal, timeout, late })
  joined.catch(() => {})
  return joined
}
