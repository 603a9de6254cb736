import { randomBytes } from 'node:crypto'
import { memberOf, parseMember } from './lease-record.ts'
import type { LeaseKey, PutResult, RemoveResult, RenewResult } from './lease-store.ts'
import type { RedisClient } from './redis-connection.ts'
import type { Script, Scripts } from './scripts.ts'

/** Events kept for readers that were away; who was away longer reads everything anew. */
const STREAM_LENGTH = 4_096
/** ms after which a namespace that nobody uses goes. */
const IDLE = 86_400_000
/** Leases handled in one command: none may keep the server from others for long. */
const REAP_PAGE = 100
const READ_PAGE = 1_000
const SCAN_PAGE = 2_500
/** HVALS of so many keeps the server for 1.2 ms, no longer than a page of HSCAN. */
const LARGEST_AT_ONCE = 10_000
/** What is read of a service before its size is known. */
const FIRST_PAGE = 128

const RENEWED = new Map<number, RenewResult>([
  [1, 'ok'],
  [0, 'gone'],
  [-1, 'fenced']
])
const REMOVED = new Map<number, RemoveResult>([
  [1, 'left'],
  [0, 'gone'],
  [-1, 'fenced']
])

/** A place in the one line of revisions of a namespace: nothing has changed while both are the same. */
export interface Revision {
  epoch: string
  seq: number
}

/** Whether a registry that was at `before` and is at `now` has lost what it had. */
export function isLoss(before: Revision, now: Revision): boolean {
  return before.epoch !== '' && (now.epoch !== before.epoch || now.seq < before.seq)
}

export interface Sweep extends Revision {
  /** ms of the server's clock. */
  now: number
  /** ms until something may have to expire; -1 for nothing. */
  wait: number
  /** How many leases the service has. */
  size: number
  /** Members that are over their deadline and were kept. */
  suspects: Set<string>
}

export interface RegistryOptions {
  namespace: string
  ttl: number
  grace?: number | undefined
  expiryShare: number
}

type Arguments = (string | number)[]

/** What HSCAN answers: where to go on, and keys and values by turns. */
type Page = [cursor: string, flat: string[]]

/** One namespace on Redis: the only place that knows its keys and commands. */
export class RedisRegistry {
  readonly events: string
  readonly #scripts: Scripts
  readonly #options: RegistryOptions
  readonly #prefix: string
  readonly #due: string
  readonly #meta: string
  readonly #services: string
  /** Becomes that of the namespace if it has none. */
  readonly #epoch = randomBytes(8).toString('hex')

  constructor(scripts: Scripts, options: RegistryOptions) {
    this.#scripts = scripts
    this.#options = options
    this.#prefix = `muster:{${options.namespace}}:`
    this.#due = `${this.#prefix}due`
    this.#meta = `${this.#prefix}meta`
    this.#services = `${this.#prefix}svcs`
    this.events = `${this.#prefix}ev`
  }

  async put(client: RedisClient, key: LeaseKey, json: string, claim: boolean): Promise<PutResult> {
    const { service, id, incarnation } = key
    const args = [service, id, incarnation, this.#options.ttl, json, claim ? 1 : 0]
    return (await this.#write(client, this.#scripts.put, [service], args)) as PutResult
  }

  /** @param thoroughly looks at all keys of the namespace, and puts off its end */
  async renew(client: RedisClient, key: LeaseKey, thoroughly: boolean): Promise<RenewResult> {
    const keys = [this.#due, this.hash(key.service)]
    if (thoroughly) keys.push(this.#meta, this.#services, this.events)
    const args = [memberOf(key), this.#options.ttl, IDLE]
    const code = await run(client, this.#scripts.renew, keys, args)
    return RENEWED.get(code as number) as RenewResult
  }

  async remove(client: RedisClient, key: LeaseKey): Promise<RemoveResult> {
    const { service, id, incarnation } = key
    const args = [service, id, incarnation]
    const code = await this.#write(client, this.#scripts.remove, [service], args)
    return REMOVED.get(code as number) as RemoveResult
  }

  value(client: RedisClient, service: string, id: string): Promise<string | null> {
    return client.hget(this.hash(service), id)
  }

  services(client: RedisClient): Promise<string[]> {
    return client.smembers(this.#services)
  }

  /** What is stored of a service, and the revision that it is at least as new as. */
  async values(
    client: RedisClient,
    service: string,
    { epoch, seq, size }: Revision & Pick<Sweep, 'size'>
  ) {
    if (size > LARGEST_AT_ONCE) return { epoch, seq, values: await this.#scan(client, service) }
    const replies = await client
      .multi()
      .hmget(this.#meta, 'epoch', 'seq')
      .hvals(this.hash(service))
      .exec()
    const [at, values] = (replies ?? []).map(([error, reply]) => {
      if (error) throw error
      return reply
    }) as [[string | null, string | null], string[]]
    return { epoch: at[0] ?? '', seq: Number(at[1]), values }
  }

  /**
   * `sweep` and `values`, for a small service in one round trip; undefined where that is not enough: a lease is over
   * its deadline, or the server does not know the script.
   */
  async sweepAndValues(
    client: RedisClient,
    service: string
  ): Promise<(Sweep & { values: string[] }) | undefined> {
    const keys = this.#keys([service])
    const replies = await client
      .pipeline()
      .evalsha(this.#scripts.probe.sha, keys.length, ...keys, REAP_PAGE)
      .hscan(this.hash(service), '0', 'COUNT', FIRST_PAGE)
      .exec()
    const [probed, scanned] = replies ?? []
    if (!probed || !scanned || probed[0] || scanned[0]) return undefined
    const { dead, ...at } = asProbe(probed[1])
    if (dead.length > 0) return undefined
    const page = scanned[1] as Page
    const atOnce = page[0] !== '0' && at.size <= LARGEST_AT_ONCE
    const values = await (atOnce
      ? client.hvals(this.hash(service))
      : this.#scan(client, service, page))
    return { ...at, suspects: new Set(), values }
  }

  /** In pages, so that nobody else waits for a large service. A lease that moved meanwhile may come twice. */
  async #scan(client: RedisClient, service: string, first?: Page): Promise<string[]> {
    const found: string[] = []
    const read = (cursor: string): Promise<Page> =>
      client.hscan(this.hash(service), cursor, 'COUNT', SCAN_PAGE)
    for (let page = first ?? (await read('0')); ; page = await read(page[0])) {
      const [cursor, flat] = page
      for (let i = 1; i < flat.length; i += 2) found.push(flat[i] as string)
      if (cursor === '0') return found
    }
  }

  /** By the server's clock, ms; undefined for what is not there. */
  async deadlines(client: RedisClient, keys: LeaseKey[]): Promise<(number | undefined)[]> {
    const scores: (number | undefined)[] = []
    for (let at = 0; at < keys.length; at += READ_PAGE) {
      const page = await client.zmscore(this.#due, keys.slice(at, at + READ_PAGE).map(memberOf))
      scores.push(...page.map((score) => (score === null ? undefined : Number(score))))
    }
    return scores
  }

  /** Looks where the registry stands and removes what is over its deadline, as far as self-preservation lets it. */
  async sweep(client: RedisClient, service?: string): Promise<Sweep> {
    for (;;) {
      const { dead, ...probe } = await this.#probe(client, service)
      if (dead.length === 0) return { ...probe, suspects: new Set() }
      const { removed, kept, wait } = await this.#reap(client, dead)
      if (kept === 0) continue
      const suspects = new Set(await client.zrangebyscore(this.#due, '-inf', probe.now))
      const at = removed > 0 ? await this.#probe(client, service) : probe
      return { ...at, wait: at.wait < 0 ? wait : Math.min(wait, at.wait), suspects }
    }
  }

  async #probe(client: RedisClient, service?: string) {
    const keys = this.#keys(service === undefined ? [] : [service])
    return asProbe(await run(client, this.#scripts.probe, keys, [REAP_PAGE]))
  }

  async #reap(client: RedisClient, dead: string[]) {
    const leases = dead.map((member) => ({ member, ...parseMember(member) }))
    const services = [...new Set(leases.map(({ service }) => service))]
    const { expiryShare, grace, ttl } = this.#options
    const victims = leases.flatMap(({ member, service, id, incarnation }) => [
      member,
      services.indexOf(service) + 1,
      service,
      id,
      incarnation
    ])
    const args = [expiryShare, grace ?? '', ttl, ...victims]
    const reply = await this.#write(client, this.#scripts.reap, services, args)
    const [removed, kept, wait] = reply as [number, number, number]
    return { removed, kept, wait }
  }

  #write(client: RedisClient, script: Script, services: string[], args: Arguments) {
    return run(client, script, this.#keys(services), [this.#epoch, STREAM_LENGTH, IDLE, ...args])
  }

  #keys(services: string[]): string[] {
    const hashes = services.map((service) => this.hash(service))
    return [this.#due, this.#meta, this.events, this.#services, ...hashes]
  }

  hash(service: string): string {
    return `${this.#prefix}s:${service}`
  }
}

function asProbe(reply: unknown) {
  const [now, epoch, seq, wait, size, dead] = reply as [
    number,
    string,
    number,
    number,
    number,
    string[]
  ]
  return { now, epoch, seq, wait, size, dead }
}

async function run(client: RedisClient, { sha, lua }: Script, keys: string[], args: Arguments) {
  try {
    return await client.evalsha(sha, keys.length, ...keys, ...args)
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
    return client.eval(lua, keys.length, ...keys, ...args)
  }
}
