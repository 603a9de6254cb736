import { aged, checkKey, decodeRecord, encodeRecord } from './lease-record.ts'
import type {
  Lease,
  LeaseEntry,
  LeaseEvent,
  LeaseKey,
  LeaseRecord,
  LeaseStore
} from './lease-store.ts'
import type { PutOptions, PutResult, RemoveResult, RenewResult } from './lease-store.ts'
import { MemoryNamespace } from './memory-namespace.ts'
import { type LeaseOptions, readMemoryOptions } from './options.ts'
import { Watchers } from './watchers.ts'

// By design all stores of one process that name a namespace share it, as they would on a server.
const namespaces = new Map<string, MemoryNamespace>()

/** Leases in the memory of this process, shared by all its stores of the same namespace. */
export function memoryLeases(options: LeaseOptions): LeaseStore {
  return new MemoryLeases(options)
}

export class MemoryLeases implements LeaseStore {
  readonly ttl: number
  readonly #options: ReturnType<typeof readMemoryOptions>
  readonly #clock: () => number
  readonly #leases: MemoryNamespace
  readonly #watchers: Watchers
  #timer: NodeJS.Timeout | undefined
  #stopListening: (() => void) | undefined

  /** @param clock ms of a clock that only goes forward */
  constructor(input: LeaseOptions, clock = () => performance.now()) {
    this.#options = readMemoryOptions(input)
    this.#clock = clock
    this.ttl = this.#options.ttl
    const { namespace } = this.#options
    this.#leases = namespaces.get(namespace) ?? new MemoryNamespace()
    namespaces.set(namespace, this.#leases)
    this.#watchers = new Watchers(
      (service) => this.#leases.list(service).map((lease) => aged(lease, lease.deadline, clock())),
      () => this.#startWatching(),
      () => this.#stopWatching()
    )
  }

  async put(
    key: LeaseKey,
    record: LeaseRecord,
    { claim = true }: PutOptions = {}
  ): Promise<PutResult> {
    checkKey(key)
    const json = encodeRecord(record)
    const { service, id, incarnation } = key
    const before = this.#leases.find(service, id)
    if (before && before.incarnation !== incarnation && !claim) return 'fenced'
    const { ttl } = this
    const deadline = this.#clock() + ttl
    if (before?.incarnation === incarnation && before.json === json && before.ttl === ttl) {
      this.#leases.extend(before, deadline)
      return 'same'
    }
    const stored = decodeRecord(json) as LeaseRecord
    const lease = { service, id, incarnation, ttl, json, deadline, record: stored, suspect: false }
    return this.#leases.set(lease)
  }

  async renew(key: LeaseKey): Promise<RenewResult> {
    checkKey(key)
    const lease = this.#leases.find(key.service, key.id)
    if (!lease) return 'gone'
    if (lease.incarnation !== key.incarnation) return 'fenced'
    this.#leases.extend(lease, this.#clock() + this.ttl)
    return 'ok'
  }

  async remove(key: LeaseKey): Promise<RemoveResult> {
    checkKey(key)
    const lease = this.#leases.find(key.service, key.id)
    if (!lease) return 'gone'
    if (lease.incarnation !== key.incarnation) return 'fenced'
    this.#leases.delete(lease, 'leave')
    return 'left'
  }

  async get(service: string, id: string): Promise<Lease | undefined> {
    checkKey({ service, id, incarnation: '-' })
    const now = this.#sweep()
    const lease = this.#leases.find(service, id)
    return lease && aged(lease, lease.deadline, now)
  }

  async list(service: string): Promise<Lease[]> {
    checkKey({ service, id: '-', incarnation: '-' })
    const now = this.#sweep()
    return this.#leases.list(service).map((lease) => aged(lease, lease.deadline, now))
  }

  async entries(service: string): Promise<LeaseEntry[]> {
    return this.list(service)
  }

  async services(): Promise<string[]> {
    this.#sweep()
    return this.#leases.services
  }

  watch(
    service?: string,
    { signal }: { signal?: AbortSignal | undefined } = {}
  ): AsyncGenerator<LeaseEvent> {
    if (service !== undefined) checkKey({ service, id: '-', incarnation: '-' })
    return this.#watchers.watch(service, signal)
  }

  /** Memory is never away. */
  onReconnect(): () => void {
    return () => {}
  }

  async close(): Promise<void> {
    this.#watchers.end()
    this.#stopWatching()
  }

  #startWatching(): void {
    this.#stopListening = this.#leases.onChange((change) => {
      this.#watchers.emit(change)
      this.#wait()
    })
    this.#wait()
  }

  #stopWatching(): void {
    this.#stopListening?.()
    clearTimeout(this.#timer)
  }

  /** Sweeps at the next deadline. */
  #wait(): void {
    clearTimeout(this.#timer)
    const next = this.#leases.nextDeadline
    if (next === Infinity) return
    const sweep = (): void => {
      this.#sweep()
      this.#wait()
    }
    this.#timer = setTimeout(sweep, Math.max(1, Math.ceil(next - this.#clock())))
  }

  #sweep(): number {
    const now = this.#clock()
    this.#leases.sweep(now, this.#options)
    return now
  }
}
