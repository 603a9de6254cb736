import {
  aged,
  checkKey,
  decodeRecord,
  encodeRecord,
  memberOf,
  type StoredLease
} from './lease-record.ts'
import type { Lease, LeaseEntry, LeaseKey, LeaseRecord, LeaseStore } from './lease-store.ts'
import type { PutOptions, PutResult, RemoveResult, RenewResult } from './lease-store.ts'
import { type LeaseOptions, readMemoryOptions } from './options.ts'

interface MemoryLease extends StoredLease {
  readonly json: string
  deadline: number
}

class Namespace {
  readonly services = new Map<string, Map<string, MemoryLease>>()
  window = { opened: -Infinity, total: 0, removed: 0 }

  get all(): MemoryLease[] {
    return [...this.services.values()].flatMap((instances) => [...instances.values()])
  }

  find({ service, id }: Pick<LeaseKey, 'service' | 'id'>): MemoryLease | undefined {
    return this.services.get(service)?.get(id)
  }

  set(lease: MemoryLease): void {
    const instances = this.services.get(lease.service) ?? new Map<string, MemoryLease>()
    this.services.set(lease.service, instances.set(lease.id, lease))
  }

  delete({ service, id }: LeaseKey): void {
    const instances = this.services.get(service)
    instances?.delete(id)
    if (instances?.size === 0) this.services.delete(service)
  }
}

// By design all stores of one process that name a namespace share it, as they would on a server.
const namespaces = new Map<string, Namespace>()

/** Leases in the memory of this process, shared by all its stores of the same namespace. */
export function memoryLeases(options: LeaseOptions): LeaseStore {
  return new MemoryLeases(options)
}

export class MemoryLeases implements LeaseStore {
  readonly ttl: number
  readonly #options: ReturnType<typeof readMemoryOptions>
  readonly #clock: () => number

  /** @param clock ms of a clock that only goes forward */
  constructor(input: LeaseOptions, clock = () => performance.now()) {
    this.#options = readMemoryOptions(input)
    this.#clock = clock
    this.ttl = this.#options.ttl
  }

  async put(
    key: LeaseKey,
    record: LeaseRecord,
    { claim = true }: PutOptions = {}
  ): Promise<PutResult> {
    checkKey(key)
    const json = encodeRecord(record)
    const { service, id, incarnation } = key
    const { ttl } = this
    const before = this.#leases.find(key)
    const mine = before?.incarnation === incarnation
    if (before && !mine && !claim) return 'fenced'
    const copy = decodeRecord(json) as LeaseRecord
    const deadline = this.#clock() + ttl
    this.#leases.set({
      service,
      id,
      incarnation,
      ttl,
      json,
      record: copy,
      suspect: false,
      deadline
    })
    if (!before) return 'join'
    if (!mine) return 'replace'
    return before.json === json && before.ttl === ttl ? 'same' : 'update'
  }

  async renew(key: LeaseKey): Promise<RenewResult> {
    checkKey(key)
    const lease = this.#leases.find(key)
    if (!lease) return 'gone'
    if (lease.incarnation !== key.incarnation) return 'fenced'
    lease.deadline = this.#clock() + this.ttl
    return 'ok'
  }

  async remove(key: LeaseKey): Promise<RemoveResult> {
    checkKey(key)
    const lease = this.#leases.find(key)
    if (!lease) return 'gone'
    if (lease.incarnation !== key.incarnation) return 'fenced'
    this.#leases.delete(key)
    return 'left'
  }

  async get(service: string, id: string): Promise<Lease | undefined> {
    checkKey({ service, id, incarnation: '-' })
    const now = this.#sweep()
    const lease = this.#leases.find({ service, id })
    return lease && aged(lease, lease.deadline, now)
  }

  async list(service: string): Promise<Lease[]> {
    checkKey({ service, id: '-', incarnation: '-' })
    const now = this.#sweep()
    const instances = this.#leases.services.get(service)?.values() ?? []
    return [...instances].map((lease) => aged(lease, lease.deadline, now))
  }

  async entries(service: string): Promise<LeaseEntry[]> {
    return this.list(service)
  }

  async services(): Promise<string[]> {
    this.#sweep()
    return [...this.#leases.services.keys()].sort()
  }

  /** Memory is never away. */
  onReconnect(): () => void {
    return () => {}
  }

  async close(): Promise<void> {
    const { namespace } = this.#options
    if (namespaces.get(namespace)?.services.size === 0) namespaces.delete(namespace)
  }

  get #leases(): Namespace {
    const { namespace } = this.#options
    const known = namespaces.get(namespace) ?? new Namespace()
    namespaces.set(namespace, known)
    return known
  }

  /** Removes what is over its deadline, as far as self-preservation lets it; returns the time it went by. */
  #sweep(): number {
    const now = this.#clock()
    const leases = this.#leases
    const dead = leases.all.filter(({ deadline }) => deadline <= now).sort(byDeadline)
    if (dead.length === 0) return now
    const { expiryShare, grace } = this.#options
    if (now - leases.window.opened >= this.ttl) {
      leases.window = { opened: now, total: leases.all.length, removed: 0 }
    }
    const { window } = leases
    const most = Math.max(1, Math.floor(window.total * expiryShare))
    for (const lease of dead) {
      const overdue = lease.deadline + grace <= now
      if (!overdue && window.removed >= most) continue
      if (!overdue) window.removed++
      leases.delete(lease)
    }
    return now
  }
}

function byDeadline(one: MemoryLease, other: MemoryLease): number {
  return one.deadline - other.deadline || (memberOf(one) < memberOf(other) ? -1 : 1)
}
