import {
  aged,
  checkKey,
  decodeLease,
  encodeRecord,
  memberOf,
  type ReadLease
} from './lease-record.ts'
import type {
  Lease,
  LeaseEntry,
  LeaseEvent,
  LeaseKey,
  LeaseRecord,
  LeaseStore
} from './lease-store.ts'
import type { PutOptions, PutResult, RemoveResult, RenewResult } from './lease-store.ts'
import { entry, LeaseView } from './lease-view.ts'
import { readRedisOptions, type RedisLeaseOptions } from './options.ts'
import { RedisAccess } from './redis-access.ts'
import { type RedisClient, RedisConnection } from './redis-connection.ts'
import { RedisMirror } from './redis-mirror.ts'
import { isLoss, RedisRegistry, type Revision } from './redis-registry.ts'
import { LONGEST_BLOCK, RedisTail } from './redis-tail.ts'
import { leaseScripts } from './scripts.ts'
import { type LeaseChange, Watchers } from './watchers.ts'

const KEEP_EVERY = 60_000

/** What was read of a service, and where the registry stood. */
interface Reading extends Revision {
  leases: ReadLease[]
  /** By our clock, ms: until what was lost is given up, or -Infinity once the connection was lost. */
  validUntil: number
}

/** Leases on Redis ≥ 6.2 or Valkey: standalone, Sentinel or Cluster. Connects when first used. */
export function redisLeases(options: RedisLeaseOptions): LeaseStore {
  return new RedisLeases(options)
}

export class RedisLeases implements LeaseStore {
  readonly ttl: number
  readonly #options: ReturnType<typeof readRedisOptions>
  readonly #registry: RedisRegistry
  readonly #mirror: RedisMirror | undefined
  readonly #redis: RedisAccess
  readonly #readings = new Map<string, Reading>()
  /** What was read, so that what the registry loses is kept for a while. */
  readonly #view: LeaseView
  readonly #watchers: Watchers
  #tail: RedisTail | undefined
  /** When a renewal last looked at all keys, by service. */
  readonly #keptAt = new Map<string, number>()
  #saidMalformed = false

  /** @param scripts told to read another clock, for a test of the model */
  constructor(input: RedisLeaseOptions, scripts = leaseScripts()) {
    this.#options = readRedisOptions(input)
    this.ttl = this.#options.ttl
    this.#registry = new RedisRegistry(scripts, this.#options)
    const { mirror, ttl } = this.#options
    this.#mirror = mirror === undefined ? undefined : new RedisMirror(mirror, ttl)
    this.#redis = new RedisAccess(this.#options)
    this.#redis.onLost(() => {
      // After a failover the line of revisions may have gone back and come forward differently.
      for (const reading of this.#readings.values()) reading.validUntil = -Infinity
    })
    this.#redis.onReady(() => this.#tail?.reconnect())
    this.#view = this.#createView()
    this.#watchers = new Watchers(
      (service) => this.#tail?.list(service),
      () => {
        this.#tail = this.#follow()
      },
      () => {
        this.#tail?.close()
        this.#tail = undefined
      }
    )
  }

  async put(
    key: LeaseKey,
    record: LeaseRecord,
    { claim = true }: PutOptions = {}
  ): Promise<PutResult> {
    checkKey(key)
    const json = encodeRecord(record)
    const result = await this.#redis.run('write', (client) =>
      this.#registry.put(client, key, json, claim)
    )
    await this.#reflect(key, result === 'fenced' ? 'forget' : 'write', json)
    return result
  }

  async renew(key: LeaseKey): Promise<RenewResult> {
    checkKey(key)
    const now = performance.now()
    const keep = now - (this.#keptAt.get(key.service) ?? -Infinity) > KEEP_EVERY
    const result = await this.#redis.run('write', (client) =>
      this.#registry.renew(client, key, keep)
    )
    if (keep && result === 'ok') this.#keptAt.set(key.service, now)
    await this.#reflect(key, result === 'ok' ? 'write' : 'forget')
    return result
  }

  async remove(key: LeaseKey): Promise<RemoveResult> {
    checkKey(key)
    const result = await this.#redis.run('write', (client) => this.#registry.remove(client, key))
    await this.#reflect(key, result === 'fenced' ? 'forget' : 'remove')
    return result
  }

  async get(service: string, id: string): Promise<Lease | undefined> {
    checkKey({ service, id, incarnation: '-' })
    return this.#redis.run('read', async (client) => {
      const { now } = await this.#registry.sweep(client)
      const value = await this.#registry.value(client, service, id)
      const lease = value === null ? undefined : decodeLease(service, value)
      if (!lease) return undefined
      const [deadline] = await this.#registry.deadlines(client, [lease])
      return deadline === undefined ? undefined : aged(lease, deadline, now)
    })
  }

  async list(service: string): Promise<Lease[]> {
    checkKey({ service, id: '-', incarnation: '-' })
    return this.#redis.run('read', async (client) => {
      for (let attempt = 1; ; attempt++) {
        const { leases, now } = await this.#read(client, service)
        const found = await this.#registry.deadlines(client, leases)
        const deadlines = found.map((deadline, at) => (leases[at]?.lostUntil ? now : deadline))
        // One without a deadline went, or was replaced, between the two reads: a replaced one must not be missed.
        if (attempt === 1 && deadlines.includes(undefined)) continue
        return leases.flatMap((lease, at) => {
          const deadline = deadlines[at]
          return deadline === undefined ? [] : [aged(lease, deadline, now)]
        })
      }
    })
  }

  async entries(service: string): Promise<readonly LeaseEntry[]> {
    checkKey({ service, id: '-', incarnation: '-' })
    return this.#redis.run('read', async (client) => {
      const { leases, suspects } = await this.#read(client, service)
      if (suspects.size === 0) return leases
      return leases.map((lease) => ({
        ...entry(lease),
        suspect: lease.suspect || suspects.has(memberOf(lease))
      }))
    })
  }

  async services(): Promise<string[]> {
    return this.#redis.run('read', async (client) => {
      await this.#registry.sweep(client)
      return (await this.#registry.services(client)).sort()
    })
  }

  watch(
    service?: string,
    { signal }: { signal?: AbortSignal | undefined } = {}
  ): AsyncGenerator<LeaseEvent> {
    if (service !== undefined) checkKey({ service, id: '-', incarnation: '-' })
    return this.#watchers.watch(service, signal)
  }

  onReconnect(listener: () => void): () => void {
    return this.#redis.onReady(listener)
  }

  async close(): Promise<void> {
    this.#watchers.end()
    this.#tail?.close()
    this.#redis.close()
  }

  /** Never rejects: the registry is what counts. */
  async #reflect(key: LeaseKey, how: 'write' | 'remove' | 'forget', json?: string): Promise<void> {
    const mirror = this.#mirror
    if (!mirror) return
    if (how === 'forget') mirror.forget(key)
    else await this.#redis.run('mirror', (client) => mirror[how](client, key, json)).catch(() => {})
  }

  /** ms that what the registry lost is kept as suspect. */
  get #lostFor(): number {
    return this.#options.grace ?? this.ttl
  }

  /** What is stored of a service, from the cache while the registry stands where it stood. */
  async #read(client: RedisClient, service: string) {
    const known = this.#readings.get(service)
    const atOnce = known ? undefined : await this.#registry.sweepAndValues(client, service)
    const at = atOnce ?? (await this.#registry.sweep(client, service))
    const { now, suspects } = at
    const valid = known && performance.now() < known.validUntil
    if (valid && known.epoch === at.epoch && known.seq === at.seq) {
      return { leases: known.leases, now, suspects }
    }
    const { values, epoch, seq } = atOnce ?? (await this.#registry.values(client, service, at))
    const lost = known && isLoss(known, { epoch, seq })
    const lostUntil = lost ? performance.now() + this.#lostFor : undefined
    this.#view.reset(service, values, seq, lostUntil)
    this.#view.dropLost()
    const leases = this.#view.list(service)
    const validUntil = leases.reduce(
      (least, { lostUntil = Infinity }) => Math.min(least, lostUntil),
      Infinity
    )
    this.#readings.set(service, { epoch, seq, leases, validUntil })
    if (leases.length === 0) this.#readings.delete(service)
    return { leases, now, suspects }
  }

  #createView(emit?: (change: LeaseChange) => void): LeaseView {
    return new LeaseView(emit, (service, value) => {
      if (this.#saidMalformed) return
      this.#saidMalformed = true
      const where = `${JSON.stringify(value.slice(0, 80))} in ${this.#registry.hash(service)}`
      this.#options.logger.warn(`Passed over what is no lease: ${where} (said once)`)
    })
  }

  #follow(): RedisTail {
    const { redis, timeout } = this.#options
    return new RedisTail({
      registry: this.#registry,
      view: this.#createView((change) => this.#watchers.emit(change)),
      redis: this.#redis,
      connection: new RedisConnection({ source: redis, timeout, block: LONGEST_BLOCK }),
      lostFor: this.#lostFor,
      onRead: () => this.#watchers.wake()
    })
  }
}
