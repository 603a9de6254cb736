import { isDeepStrictEqual } from 'node:util'
import type {
  Lease,
  LeaseEntry,
  LeaseKey,
  LeaseStore,
  RemoveResult,
  RenewResult
} from '@muster/leases'

/** What a service sends to register; further fields are kept. */
export interface Entry {
  url: string
  info: Record<string, unknown>
  [field: string]: unknown
}

/** Who sends it. Without an incarnation nobody is fenced off. */
export interface Member {
  service: string
  instance: string
  incarnation?: string | undefined
}

export type Status = 'alive' | 'suspect'

interface Stay extends Entry {
  /** `suspect`: overdue, but kept because too many are overdue together. */
  status: Status
  registered_at: string
  last_updated: string
}

/** An instance without what changes at each ping. */
export interface EntryView extends Stay {
  /** Of the service. */
  id: string
  instance_id: string
  incarnation?: string
}

export interface InstanceView extends Stay {
  instance_id: string
  incarnation?: string
  last_ping_at: string
  expires_at: string
}

/** A service as its latest instance, and all its instances. */
export interface ServiceView extends Stay {
  id: string
  last_ping_at: string
  expires_at: string
  instances: InstanceView[]
}

export interface RosterFilter {
  status?: Status | undefined
  /** Starts after this id. */
  after?: string | undefined
  /** How many at most. @default 1000 */
  limit?: number | undefined
}

/** Stands for the incarnation of those who send none. */
const ANYONE = '-'
/** Services that are asked for at once. */
const TOGETHER = 100

/** How many registrations are remembered at most, and how long the JSON of each may be. */
const MOST_REMEMBERED = 20_000
const LONGEST_REMEMBERED = 2_048

/** When an instance came, and when what it says of itself last changed. */
interface Times {
  registered_at: string
  last_updated: string
}

/** The services that have registered, on a lease store. */
export class Roster {
  readonly #store: LeaseStore
  /** By key; who registers again with nothing new, as most do, need not be looked up. */
  readonly #remembered = new Map<string, { text: string; record: Entry & Times }>()

  constructor(store: LeaseStore) {
    this.#store = store
  }

  get ttl(): number {
    return this.#store.ttl
  }

  /** @returns whether it was there already */
  async register(member: Member, entry: Entry): Promise<boolean> {
    const { service, instance, incarnation = ANYONE } = member
    const key = { service, id: instance, incarnation }
    const text = JSON.stringify(entry)
    const known = this.#remembered.get(nameOf(key))
    if (known?.text === text) {
      const result = await this.#store.put(key, known.record)
      if (result === 'same') return true
      // It had been removed meanwhile, or changed through another orchestrator.
      await this.#put(key, entry, text, result === 'update' ? known.record : undefined)
      return result !== 'join'
    }
    const before = await this.#store.get(service, instance)
    const mine = before?.incarnation === incarnation ? (before.record as Stay) : undefined
    const isSame = mine && isDeepStrictEqual(mine, { ...entry, ...timesOf(mine) })
    return (await this.#put(key, entry, text, mine, isSame)) !== 'join'
  }

  /** @param before when it came, where it was here before */
  #put(key: LeaseKey, entry: Entry, text: string, before?: Times, isSame = false) {
    const now = new Date().toISOString()
    const record = {
      ...entry,
      registered_at: before?.registered_at ?? now,
      last_updated: before && isSame ? before.last_updated : now
    }
    if (this.#remembered.size >= MOST_REMEMBERED) this.#remembered.clear()
    if (text.length <= LONGEST_REMEMBERED) this.#remembered.set(nameOf(key), { text, record })
    return this.#store.put(key, record)
  }

  ping(member: Member): Promise<RenewResult> {
    return this.#withKey(member, (key) => this.#store.renew(key))
  }

  remove(member: Member): Promise<RemoveResult> {
    return this.#withKey(member, (key) => this.#store.remove(key))
  }

  /** @param status leaves out instances of another one */
  async find(id: string, status?: Status): Promise<ServiceView | undefined> {
    const instances = (await this.#store.list(id)).map(instanceView)
    return serviceView(id, status ? instances.filter((one) => one.status === status) : instances)
  }

  /** A page of services in order of their ids; `next` is the id to go on after. */
  async page({ status, after = '', limit = 1_000 }: RosterFilter) {
    const ids = (await this.#store.services()).filter((id) => id > after)
    const services: ServiceView[] = []
    for (let from = 0; from < ids.length; from += TOGETHER) {
      const views = await Promise.all(
        ids.slice(from, from + TOGETHER).map((id) => this.find(id, status))
      )
      for (const view of views) {
        if (!view) continue
        if (services.length === limit) return { services, next: services.at(-1)?.id }
        services.push(view)
      }
    }
    return { services, next: undefined }
  }

  /**
   * Who sends no incarnation means whoever is there.
   * What is over is forgotten: whoever comes back comes as somebody new, not as of before and then changed.
   */
  async #withKey<Result extends RenewResult | RemoveResult>(
    { service, instance, incarnation }: Member,
    act: (key: LeaseKey) => Promise<Result>
  ): Promise<Result | 'gone'> {
    const key = { service, id: instance, incarnation: incarnation ?? ANYONE }
    const holder = incarnation === undefined ? await this.#store.get(service, instance) : key
    const result = holder ? await act(holder) : 'gone'
    if (result !== 'ok') this.#remembered.delete(nameOf(holder ?? key))
    return result
  }
}

function nameOf({ service, id, incarnation }: LeaseKey): string {
  return `${service}/${id}#${incarnation}`
}

function timesOf({ registered_at, last_updated }: Times): Times {
  return { registered_at, last_updated }
}

export function entryView({ service, id, incarnation, record, suspect }: LeaseEntry): EntryView {
  return {
    ...(record as Stay),
    id: service,
    instance_id: id,
    ...(incarnation === ANYONE ? {} : { incarnation }),
    status: suspect ? 'suspect' : 'alive'
  }
}

function instanceView(lease: Lease): InstanceView {
  const { id: _, ...view } = entryView(lease)
  const now = Date.now()
  return {
    ...view,
    last_ping_at: new Date(now - lease.age).toISOString(),
    expires_at: new Date(now + lease.expiresIn).toISOString()
  }
}

function serviceView(id: string, instances: InstanceView[]): ServiceView | undefined {
  const latest = instances.toSorted(byMerit)[0]
  if (!latest) return undefined
  const { instance_id: _, incarnation: __, ...fields } = latest
  return { id, ...fields, instances }
}

function byMerit(one: InstanceView, other: InstanceView): number {
  if (one.status !== other.status) return one.status === 'alive' ? -1 : 1
  return one.registered_at < other.registered_at ? 1 : -1
}
