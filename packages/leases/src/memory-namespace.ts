import { memberOf, type StoredLease } from './lease-record.ts'
import type { LeaseChange } from './watchers.ts'

export interface MemoryLease extends StoredLease {
  readonly json: string
  deadline: number
  suspect: boolean
}

interface Preservation {
  /** ms; by default the TTL of each lease. */
  grace?: number | undefined
  expiryShare: number
}

/** The leases of one namespace: what the Lua scripts do on Redis, in memory. */
export class MemoryNamespace {
  readonly #services = new Map<string, Map<string, MemoryLease>>()
  readonly #listeners = new Set<(change: LeaseChange) => void>()
  #window = { opened: -Infinity, total: 0, removed: 0 }
  /** Before `until` a sweep would find nothing to do, unless the clock went back behind `from`. */
  #calm = { from: -Infinity, until: Infinity }

  get services(): string[] {
    return [...this.#services.keys()].sort()
  }

  find(service: string, id: string): MemoryLease | undefined {
    return this.#services.get(service)?.get(id)
  }

  list(service?: string): MemoryLease[] {
    const of = service === undefined ? this.services : [service]
    return of.flatMap((name) => [...(this.#services.get(name)?.values() ?? [])])
  }

  onChange(listener: (change: LeaseChange) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** In place of what is there under its name. */
  set(lease: MemoryLease): 'join' | 'replace' | 'update' {
    const { service, id, incarnation, deadline } = lease
    const instances = this.#services.get(service)
    const before = instances?.get(id)
    if (instances) instances.set(id, lease)
    else this.#services.set(service, new Map([[id, lease]]))
    this.#calm.until = Math.min(this.#calm.until, deadline)
    const isOther = before && before.incarnation !== incarnation
    const type = before ? (isOther ? 'replace' : 'update') : 'join'
    this.#emit({ type, lease })
    return type
  }

  extend(lease: MemoryLease, deadline: number): void {
    lease.deadline = deadline
    this.#calm.until = Math.min(this.#calm.until, deadline)
    this.#mark(lease, false)
  }

  delete(lease: MemoryLease, type: 'leave' | 'expire'): void {
    const instances = this.#services.get(lease.service)
    instances?.delete(lease.id)
    if (instances?.size === 0) this.#services.delete(lease.service)
    this.#emit({ type, lease })
  }

  /** Removes what is over its deadline, as far as self-preservation lets it; the rest becomes suspect. */
  sweep(now: number, { grace, expiryShare }: Preservation): void {
    if (now >= this.#calm.from && now < this.#calm.until) return
    const all = this.list()
    const dead = all.filter(({ deadline }) => deadline <= now).sort(byDeadline)
    let left = all.length
    for (const lease of dead) {
      const { opened } = this.#window
      if (now - opened >= lease.ttl || opened > now) {
        this.#window = { opened: now, total: left, removed: 0 }
      }
      const most = Math.max(1, Math.floor(this.#window.total * expiryShare))
      const overdue = lease.deadline + (grace ?? lease.ttl) <= now
      if (overdue || this.#window.removed < most) {
        if (!overdue) this.#window.removed++
        this.delete(lease, 'expire')
        left--
      } else {
        this.#mark(lease, true)
      }
    }
    this.#calm = { from: now, until: this.#nextDue(now, grace) }
  }

  /** When a sweep may have something to do next; Infinity for never. */
  get nextDeadline(): number {
    return this.#calm.until
  }

  #nextDue(now: number, grace: number | undefined): number {
    let next = Infinity
    for (const instances of this.#services.values()) {
      for (const { suspect, deadline, ttl } of instances.values()) {
        // After a step back of the clock a suspect may have its deadline before it again.
        const kept = suspect && deadline <= now
        const due = kept ? Math.min(this.#window.opened + ttl, deadline + (grace ?? ttl)) : deadline
        next = Math.min(next, due)
      }
    }
    return next
  }

  #mark(lease: MemoryLease, suspect: boolean): void {
    if (lease.suspect === suspect) return
    lease.suspect = suspect
    this.#emit({ type: 'update', lease })
  }

  #emit({ type, lease }: { type: LeaseChange['type']; lease: MemoryLease }): void {
    const { service, id, incarnation, record, suspect } = lease
    const change = { type, lease: { service, id, incarnation, record, suspect } }
    for (const listener of this.#listeners) listener(change)
  }
}

function byDeadline(one: MemoryLease, other: MemoryLease): number {
  return one.deadline - other.deadline || (memberOf(one) < memberOf(other) ? -1 : 1)
}
