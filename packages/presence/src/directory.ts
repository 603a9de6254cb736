import type { Lease, LeaseEntry, LeaseStore } from '@muster/leases'
import { type Instance, toInstance } from './instance.ts'
import { isRequests } from './requests.ts'

/** What `watch` tells: first all instances, then each change. */
export type PresenceEvent =
  | { type: 'snapshot'; instances: Instance[] }
  | {
      /** `update`: its status, metadata or whether it is suspect. `expire`: gone without having left. */
      type: 'join' | 'replace' | 'update' | 'leave' | 'expire'
      /** As it is now, or was last. */
      instance: Instance
    }

interface Reading {
  entries: readonly LeaseEntry[]
  instances: readonly Instance[]
  at: number
}

/** Finds the others. */
export class Directory {
  readonly #store: LeaseStore
  readonly #onForeign: (entry: LeaseEntry) => void
  readonly #life = new AbortController()
  #saidForeign = false
  /** What was last read of each service, for when the registry is away. */
  readonly #last = new Map<string, Reading>()

  constructor(store: LeaseStore, onForeign: (entry: LeaseEntry) => void) {
    this.#store = store
    this.#onForeign = onForeign
  }

  async instances(service: string, { age = false } = {}): Promise<readonly Instance[]> {
    try {
      return age ? await this.#readWithAges(service) : await this.#read(service)
    } catch (error) {
      const last = this.#last.get(service)
      if (!last) throw error
      const stale = Math.max(1, Math.round(performance.now() - last.at))
      return last.instances.map((instance) => ({ ...instance, stale }))
    }
  }

  async services(): Promise<string[]> {
    return (await this.#store.services()).filter((service) => !isRequests(service))
  }

  async *watch(
    service?: string,
    { signal }: { signal?: AbortSignal | undefined } = {}
  ): AsyncGenerator<PresenceEvent> {
    const end = signal ? AbortSignal.any([signal, this.#life.signal]) : this.#life.signal
    for await (const event of this.#store.watch(service, { signal: end })) {
      if (event.type === 'snapshot') {
        yield { type: event.type, instances: this.#toInstances(event.leases) }
        continue
      }
      const [instance] = this.#toInstances([event.lease])
      if (instance) yield { type: event.type, instance }
    }
  }

  /** Ends what watches. */
  close(): void {
    this.#life.abort()
  }

  async #read(service: string): Promise<readonly Instance[]> {
    const entries = await this.#store.entries(service)
    const last = this.#last.get(service)
    const instances = last?.entries === entries ? last.instances : this.#toInstances(entries)
    this.#keep(service, { entries, instances, at: performance.now() })
    return instances
  }

  async #readWithAges(service: string): Promise<Instance[]> {
    const leases = await this.#store.list(service)
    const ages = new Map(leases.map(({ id, age }: Lease) => [id, age]))
    const instances = this.#toInstances(leases).map((instance) => ({
      ...instance,
      age: ages.get(instance.instanceId) ?? 0
    }))
    this.#keep(service, { entries: leases, instances, at: performance.now() })
    return instances
  }

  #keep(service: string, reading: Reading): void {
    if (reading.instances.length > 0) this.#last.set(service, reading)
    else this.#last.delete(service)
  }

  #toInstances(entries: readonly LeaseEntry[]): Instance[] {
    return entries.flatMap((entry) => {
      if (isRequests(entry.service)) return []
      const instance = toInstance(entry)
      if (!instance && !this.#saidForeign) {
        this.#saidForeign = true
        this.#onForeign(entry)
      }
      return instance ?? []
    })
  }
}
