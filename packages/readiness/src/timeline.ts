/** One thing that start-up had to wait for, or did meanwhile. */
export interface TimelineEntry {
  name: string
  /** ms from registration; absent for plugins, of which Fastify tells only how long they took. */
  start?: number
  /** ms; absent while it lasts. */
  duration?: number
}

/** What happened from registration to the first `ready`, and how long it took. */
export class Timeline {
  readonly #origin = performance.now()
  readonly #entries = new Map<string, TimelineEntry>()
  #complete = false

  get entries(): TimelineEntry[] {
    return [...this.#entries.values()].map((entry) => ({ ...entry }))
  }

  /** ms from registration. */
  get elapsed(): number {
    return Math.round(performance.now() - this.#origin)
  }

  /** Begins an entry, or continues the one of this name; the function that is returned ends it. */
  time(name: string): () => void {
    if (this.#complete) return () => {}
    const start = this.elapsed
    const entry = this.#entries.get(name) ?? { name, start }
    this.#entries.set(name, entry)
    return () => {
      if (!this.#complete) entry.duration = this.elapsed - (entry.start ?? start)
    }
  }

  /** Adds the plugins that took at least a millisecond, as `app.printPlugins()` tells them. */
  addPlugins(tree: string): void {
    for (const [, label = '', duration] of tree.matchAll(/^[├└]─[─┬] (.+) (\d+) ms$/gm)) {
      const name = `plugin ${label}`
      if (duration !== '0' && label !== 'bound _after') {
        this.#entries.set(name, { name, duration: Number(duration) })
      }
    }
  }

  /** Ends the record: what comes after the first `ready` is no start-up. Returns it in one line. */
  complete(): string {
    this.#complete = true
    const ended = this.entries.filter(({ duration }) => duration !== undefined)
    const details = ended.map(({ name, duration }) => `${name} ${duration} ms`)
    return [
      `ready in ${this.elapsed} ms`,
      ...(details.length > 0 ? [details.join(', ')] : [])
    ].join(': ')
  }
}
