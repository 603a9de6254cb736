import { decodeLease, memberOf, type ReadLease } from './lease-record.ts'
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

/** What a reader knows of a namespace, kept by events, and set right where events were missed. */
export class LeaseView {
  readonly #services = new Map<string, Map<string, ReadLease>>()
  /** Events up to here were in what was read of the service. */
  readonly #readAt = new Map<string, number>()
  /** Whether any has `lostUntil`. */
  #lost = false
  readonly #emit: ((change: LeaseChange) => void) | undefined
  readonly #onMalformed: (service: string, value: string) => void

  constructor(
    emit: ((change: LeaseChange) => void) | undefined,
    onMalformed: (service: string, value: string) => void
  ) {
    this.#emit = emit
    this.#onMalformed = onMalformed
  }

  list(service?: string): ReadLease[] {
    const of = service === undefined ? this.services : [service]
    return of.flatMap((name) => Array.from(this.#services.get(name)?.values() ?? []))
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
    const lease = decodeLease(service, value)
    if (!lease || !['join', 'replace', 'update'].includes(op)) return false
    this.#set(lease)
    return true
  }

  /**
   * Sets the view of a service right.
   * @param seq up to which revision `values` are complete
   * @param lostUntil if the registry lost its data: until when, by our clock, what is missing is kept as suspect
   */
  reset(service: string, values: string[], seq: number, lostUntil?: number): void {
    this.#readAt.set(service, seq)
    const known = this.#services.get(service)
    const found = new Map<string, ReadLease>()
    for (const value of values) {
      const lease = decodeLease(service, value)
      if (lease) found.set(lease.id, lease)
      else this.#onMalformed(service, value)
    }
    if (!known) return this.#start(service, found)
    for (const lease of found.values()) this.#set(lease)
    for (const lease of known.values()) {
      if (found.has(lease.id) || lease.lostUntil !== undefined) continue
      if (lostUntil === undefined) this.#delete(lease, 'expire')
      else {
        this.#lost = true
        this.#change({ ...lease, suspect: true, lostUntil })
      }
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
    if (!this.#lost) return false
    const lost = this.list().filter(({ lostUntil }) => lostUntil !== undefined)
    const over = lost.filter(({ lostUntil = 0 }) => lostUntil <= now)
    for (const lease of over) this.#delete(lease, 'expire')
    this.#lost = over.length < lost.length
    return this.#lost
  }

  /** The services are about to be read anew. */
  startReading(): void {
    this.#readAt.clear()
  }

  #start(service: string, found: Map<string, ReadLease>): void {
    if (found.size === 0) return
    this.#services.set(service, found)
    if (this.#emit)
      for (const lease of found.values()) this.#emit({ type: 'join', lease: entry(lease) })
  }

  #set(lease: ReadLease): void {
    const known = this.#services.get(lease.service)?.get(lease.id)
    if (!known) this.#store(lease, 'join')
    else if (known.incarnation !== lease.incarnation) this.#store(lease, 'replace')
    else if (known.value !== lease.value || known.lostUntil !== undefined) this.#change(lease)
  }

  #change(lease: ReadLease): void {
    this.#store(lease, 'update')
  }

  #store(lease: ReadLease, type: 'join' | 'replace' | 'update'): void {
    const instances = this.#services.get(lease.service) ?? new Map<string, ReadLease>()
    this.#services.set(lease.service, instances.set(lease.id, lease))
    this.#emit?.({ type, lease: entry(lease) })
  }

  #delete(lease: ReadLease, type: 'leave' | 'expire'): void {
    const instances = this.#services.get(lease.service)
    instances?.delete(lease.id)
    if (instances?.size === 0) this.#services.delete(lease.service)
    this.#emit?.({ type, lease: entry(lease) })
  }
}

export function entry({ service, id, incarnation, record, suspect }: ReadLease): LeaseEntry {
  return { service, id, incarnation, record, suspect }
}
