import { StoreRefusedError, StoreUnavailableError } from './errors.ts'
import {
  aged,
  checkKey,
  decodeLease,
  encodeRecord,
  memberOf,
  type StoredLease
} from './lease-record.ts'
import type { Lease, LeaseEntry, LeaseKey, LeaseRecord, LeaseStore } from './lease-store.ts'
import type { PutOptions, PutResult, RemoveResult, RenewResult } from './lease-store.ts'
import { readRedisOptions, type RedisLeaseOptions } from './options.ts'
import { Outages } from './outages.ts'
import { type RedisClient, RedisConnection, redacted } from './redis-connection.ts'
import { RedisRegistry, type Revision } from './redis-registry.ts'
import { leaseScripts } from './scripts.ts'
import { within } from './within.ts'

const KEEP_EVERY = 3_600_000

interface View extends Revision {
  leases: StoredLease[]
}

/** Leases on Redis ≥ 6.2 or Valkey: standalone, Sentinel or Cluster. Connects when first used. */
export function redisLeases(options: RedisLeaseOptions): LeaseStore {
  return new RedisLeases(options)
}

export class RedisLeases implements LeaseStore {
  readonly ttl: number
  readonly #options: ReturnType<typeof readRedisOptions>
  readonly #registry: RedisRegistry
  readonly #connection: RedisConnection
  readonly #outages: Outages
  readonly #listeners = new Set<() => void>()
  readonly #views = new Map<string, View>()
  #keptAt = -Infinity
  #saidMalformed = false

  /** @param scripts told to read another clock, for a test of the model */
  constructor(input: RedisLeaseOptions, scripts = leaseScripts()) {
    this.#options = readRedisOptions(input)
    this.ttl = this.#options.ttl
    this.#registry = new RedisRegistry(scripts, this.#options)
    this.#outages = new Outages(this.#options.logger)
    this.#connection = new RedisConnection({
      source: this.#options.redis,
      timeout: this.#options.timeout,
      // After a failover the line of revisions may have gone back and come forward differently.
      onLost: () => this.#views.clear(),
      onReady: () => {
        for (const listener of this.#listeners) listener()
      }
    })
  }

  async put(
    key: LeaseKey,
    record: LeaseRecord,
    { claim = true }: PutOptions = {}
  ): Promise<PutResult> {
    checkKey(key)
    const json = encodeRecord(record)
    return this.#run('write', (client) => this.#registry.put(client, key, json, claim))
  }

  async renew(key: LeaseKey): Promise<RenewResult> {
    checkKey(key)
    const now = performance.now()
    const keep = now - this.#keptAt > KEEP_EVERY
    const result = await this.#run('write', (client) => this.#registry.renew(client, key, keep))
    if (keep && result === 'ok') this.#keptAt = now
    return result
  }

  async remove(key: LeaseKey): Promise<RemoveResult> {
    checkKey(key)
    return this.#run('write', (client) => this.#registry.remove(client, key))
  }

  async get(service: string, id: string): Promise<Lease | undefined> {
    checkKey({ service, id, incarnation: '-' })
    return this.#run('read', async (client) => {
      const { now } = await this.#registry.sweep(client)
      const value = await this.#registry.value(client, service, id)
      const lease = value === null ? undefined : this.#decode(service, id, value)
      if (!lease) return undefined
      const [deadline] = await this.#registry.deadlines(client, [lease])
      return deadline === undefined ? undefined : aged(lease, deadline, now)
    })
  }

  async list(service: string): Promise<Lease[]> {
    checkKey({ service, id: '-', incarnation: '-' })
    return this.#run('read', async (client) => {
      for (let attempt = 1; ; attempt++) {
        const { leases, now } = await this.#read(client, service)
        const deadlines = await this.#registry.deadlines(client, leases)
        // One without a deadline went, or was replaced, between the two reads: a replaced one must not be missed.
        if (attempt === 1 && deadlines.includes(undefined)) continue
        return leases.flatMap((lease, at) => {
          const deadline = deadlines[at]
          return deadline === undefined ? [] : [aged(lease, deadline, now)]
        })
      }
    })
  }

  async entries(service: string): Promise<LeaseEntry[]> {
    checkKey({ service, id: '-', incarnation: '-' })
    return this.#run('read', async (client) => {
      const { leases, suspects } = await this.#read(client, service)
      if (suspects.size === 0) return [...leases]
      return leases.map((lease) => ({ ...lease, suspect: suspects.has(memberOf(lease)) }))
    })
  }

  async services(): Promise<string[]> {
    return this.#run('read', async (client) => {
      await this.#registry.sweep(client)
      return (await this.#registry.services(client)).sort()
    })
  }

  onReconnect(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    this.#connection.close()
  }

  /** What is stored of a service, from the cache while the registry stands where it stood. */
  async #read(client: RedisClient, service: string) {
    const at = await this.#registry.sweep(client, service)
    const { now, suspects } = at
    const known = this.#views.get(service)
    if (known?.epoch === at.epoch && known.seq === at.seq)
      return { leases: known.leases, now, suspects }
    if (at.size === 0) {
      this.#views.delete(service)
      return { leases: [], now, suspects }
    }
    const { values, epoch, seq } = await this.#registry.values(client, service, at)
    const leases = values.flatMap(([id, value]) => this.#decode(service, id, value) ?? [])
    this.#views.set(service, { epoch, seq, leases })
    return { leases, now, suspects }
  }

  #decode(service: string, id: string, value: string): StoredLease | undefined {
    const lease = decodeLease(service, id, value)
    if (!lease && !this.#saidMalformed) {
      this.#saidMalformed = true
      const where = `${JSON.stringify(id)} in ${this.#registry.hash(service)}`
      this.#options.logger.warn(`Passed over what is no lease: ${where} (said once)`)
    }
    return lease
  }

  async #run<T>(
    what: 'read' | 'write',
    operation: (client: RedisClient) => Promise<T>
  ): Promise<T> {
    try {
      const result = await within(this.#options.timeout, async () =>
        operation(await this.#connection.ready())
      )
      this.#outages.over('connection')
      this.#outages.over(what)
      return result
    } catch (cause) {
      const error = asStoreError(cause)
      this.#outages.failed(error instanceof StoreRefusedError ? what : 'connection', error)
      throw error
    }
  }
}

function asStoreError(cause: unknown): Error {
  if (cause instanceof StoreUnavailableError || !(cause instanceof Error)) return cause as Error
  const shown = redacted(cause)
  return shown.name === 'ReplyError'
    ? new StoreRefusedError(shown.message, { cause: shown })
    : new StoreUnavailableError(shown.message, { cause: shown })
}
