import { memberOf, type StoredLease } from './lease-record.ts'
import type { PutResult } from './lease-store.ts'
import type { LeaseChange } from './watchers.ts'

export interface MemoryLease extends StoredLease {
  readonly json: string
  readonly deadline: number
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

  set(lease: MemoryLease): Exclude<PutResult, 'fenced'> {
    const before = this.find(lease.service, lease.id)
    const instances = this.#services.get(lease.service) ?? new Map<string, MemoryLease>()
    this.#services.set(lease.service, instances.set(lease.id, lease))
    this.#calm.until = Math.min(this.#calm.until, lease.deadline)
    const result = difference(before, lease)
    if (result !== 'same') this.#emit({ type: result, lease })
    else if (before?.suspect !== lease.suspect) this.#emit({ type: 'update', lease })
    return result
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
      } else if (!lease.suspect) {
        this.set({ ...lease, suspect: true })
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

  #emit({ type, lease }: { type: LeaseChange['type']; lease: MemoryLease }): void {
    const { service, id, incarnation, record, suspect } = lease
    const change = { type, lease: { service, id, incarnation, record, suspect } }
    for (const listener of this.#listeners) listener(change)
  }
}

function difference(before: MemoryLease | undefined, now: MemoryLease) {
  if (!before) return 'join'
  if (before.incarnation !== now.incarnation) return 'replace'
  return before.json === now.json && before.ttl === now.ttl ? 'same' : 'update'
}

function byDeadline(one: MemoryLease, other: MemoryLease): number {
  return one.deadline - other.deadline || (memberOf(one) < memberOf(other) ? -1 : 1)
}
