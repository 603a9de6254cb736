import { decodeLease, memberOf, type StoredLease } from './lease-record.ts'
import type { LeaseEntry } from './lease-store.ts'
import type { LeaseChange } from './watchers.ts'

/** One entry of the stream of changes. */
export interface StreamEvent {
  seq: number
  op: string
  service: string
  id: string
  /** Of a lease that is there: as it is stored; of one that went: its incarnation. */
  value: string
}

export interface ViewedLease extends StoredLease {
  readonly value: string
  /** The registry lost it: when, by our clock, it is given up unless it comes back. */
  readonly lostUntil?: number | undefined
}

type Values = [id: string, value: string][]

/** What a reader knows of a namespace, kept by events, and set right where events were missed. */
export class LeaseView {
  readonly #services = new Map<string, Map<string, ViewedLease>>()
  /** Events up to here were in what was read of the service. */
  readonly #readAt = new Map<string, number>()
  readonly #emit: (change: LeaseChange) => void
  readonly #onMalformed: (service: string, id: string) => void

  constructor(
    emit: (change: LeaseChange) => void,
    onMalformed: (service: string, id: string) => void
  ) {
    this.#emit = emit
    this.#onMalformed = onMalformed
  }

  list(service?: string): ViewedLease[] {
    const of = service === undefined ? this.services : [service]
    return of.flatMap((name) => [...(this.#services.get(name)?.values() ?? [])])
  }

  get services(): string[] {
    return [...this.#services.keys()]
  }

  /** @returns false for an event that this version does not understand */
  apply({ seq, op, service, id, value }: StreamEvent): boolean {
    if (seq <= (this.#readAt.get(service) ?? 0)) return true
    if (op === 'leave' || op === 'expire') {
      const known = this.#services.get(service)?.get(id)
      if (known?.incarnation === value) this.#delete(known, op)
      return true
    }
    const lease = decodeLease(service, id, value)
    if (!lease || !['join', 'replace', 'update'].includes(op)) return false
    this.#set({ ...lease, value })
    return true
  }

  /**
   * Sets the view of a service right.
   * @param seq up to which revision `values` are complete
   * @param lostUntil if the registry lost its data: until when, by our clock, what is missing is kept as suspect
   */
  reset(service: string, values: Values, seq: number, lostUntil?: number): void {
    this.#readAt.set(service, seq)
    const missing = new Map(this.#services.get(service))
    for (const [id, value] of values) {
      missing.delete(id)
      const lease = decodeLease(service, id, value)
      if (lease) this.#set({ ...lease, value })
      else this.#onMalformed(service, id)
    }
    for (const lease of missing.values()) {
      if (lostUntil === undefined && lease.lostUntil === undefined) this.#delete(lease, 'expire')
      else if (lease.lostUntil === undefined) this.#change({ ...lease, suspect: true, lostUntil })
    }
  }

  /** @param members of all leases that are over their deadline and were kept */
  markSuspects(members: Set<string>): void {
    for (const instances of this.#services.values()) {
      for (const lease of instances.values()) {
        const suspect = lease.lostUntil !== undefined || members.has(memberOf(lease))
        if (suspect !== lease.suspect) this.#change({ ...lease, suspect })
      }
    }
  }

  /**
   * Gives up what was lost and did not come back until `now`.
   * @returns whether more may still have to be given up
   */
  dropLost(now = performance.now()): boolean {
    const lost = this.list().filter(({ lostUntil }) => lostUntil !== undefined)
    const over = lost.filter(({ lostUntil = 0 }) => lostUntil <= now)
    for (const lease of over) this.#delete(lease, 'expire')
    return over.length < lost.length
  }

  /** The services are about to be read anew. */
  startReading(): void {
    this.#readAt.clear()
  }

  #set(lease: ViewedLease): void {
    const known = this.#services.get(lease.service)?.get(lease.id)
    if (!known) this.#store(lease, 'join')
    else if (known.incarnation !== lease.incarnation) this.#store(lease, 'replace')
    else if (known.value !== lease.value || known.lostUntil !== undefined) this.#change(lease)
  }

  #change(lease: ViewedLease): void {
    this.#store(lease, 'update')
  }

  #store(lease: ViewedLease, type: 'join' | 'replace' | 'update'): void {
    const instances = this.#services.get(lease.service) ?? new Map<string, ViewedLease>()
    this.#services.set(lease.service, instances.set(lease.id, lease))
    this.#emit({ type, lease: entry(lease) })
  }

  #delete(lease: ViewedLease, type: 'leave' | 'expire'): void {
    const instances = this.#services.get(lease.service)
    instances?.delete(lease.id)
    if (instances?.size === 0) this.#services.delete(lease.service)
    this.#emit({ type, lease: entry(lease) })
  }
}

export function entry({ service, id, incarnation, record, suspect }: ViewedLease): LeaseEntry {
  return { service, id, incarnation, record, suspect }
}
