import type { LeaseLogger } from './options.ts'

/** Says once that something began to fail, and once that it works again. */
export class Outages {
  readonly #since = new Map<string, number>()
  readonly #logger: LeaseLogger

  constructor(logger: LeaseLogger) {
    this.#logger = logger
  }

  failed(what: string, error: Error): void {
    if (this.#since.has(what)) return
    this.#since.set(what, performance.now())
    this.#logger.warn(error.message)
  }

  over(what: string): void {
    const since = this.#since.get(what)
    if (since === undefined) return
    this.#since.delete(what)
    const seconds = ((performance.now() - since) / 1_000).toFixed(1)
    this.#logger.info(`The lease store is back (${what}) after ${seconds} s`)
  }
}
