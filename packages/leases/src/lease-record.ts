import { LeaseKeyError, LeaseRecordError } from './errors.ts'
import type { Lease, LeaseEntry, LeaseKey, LeaseRecord } from './lease-store.ts'

const MAX_RECORD_BYTES = 65_536
const MAX_NAME_BYTES = 128
// What separates the parts of a key, opens a hash tag, or ends a line.
const UNSAFE = /[/#{}\p{Cc}]/u

/** @throws MUSTER_ERR_LEASE_KEY */
export function checkKey({ service, id, incarnation }: LeaseKey): void {
  checkName('service', service)
  checkName('id', id)
  checkName('incarnation', incarnation)
  if (/\s/.test(incarnation)) {
    throw new LeaseKeyError(
      `incarnation must have no white space, received ${JSON.stringify(incarnation)}`
    )
  }
}

function checkName(part: string, name: unknown): void {
  if (typeof name === 'string' && name !== '' && !UNSAFE.test(name)) {
    if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return
  }
  const shown = JSON.stringify(name)?.slice(0, 80)
  throw new LeaseKeyError(
    `${part} must be 1 to ${MAX_NAME_BYTES} bytes without / # { } and control characters, received ${shown}`
  )
}

/** @throws MUSTER_ERR_LEASE_RECORD */
export function encodeRecord(record: LeaseRecord): string {
  const json = stringify(record)
  if (json?.[0] !== '{') throw new LeaseRecordError(`a record must be an object, received ${json}`)
  const bytes = Buffer.byteLength(json)
  if (bytes > MAX_RECORD_BYTES) {
    throw new LeaseRecordError(
      `a record must be at most ${MAX_RECORD_BYTES} bytes of JSON, received ${bytes}`
    )
  }
  return json
}

function stringify(record: LeaseRecord): string | undefined {
  try {
    return JSON.stringify(record)
  } catch (cause) {
    throw new LeaseRecordError('a record must be JSON', { cause })
  }
}

/** The member of the set of deadlines that stands for a lease. */
export function memberOf({ service, id, incarnation }: LeaseKey): string {
  return `${service}/${id}#${incarnation}`
}

export function parseMember(member: string): LeaseKey {
  const slash = member.indexOf('/')
  const hash = member.lastIndexOf('#')
  return {
    service: member.slice(0, slash),
    id: member.slice(slash + 1, hash),
    incarnation: member.slice(hash + 1)
  }
}

/** A lease as it is stored: its TTL and record beside its key. */
export interface StoredLease extends LeaseEntry {
  readonly ttl: number
}

/** Reads '<incarnation> <ttl>\n<json>'; undefined when it is anything else. */
export function decodeLease(service: string, id: string, value: string): StoredLease | undefined {
  const match = /^(\S+) (\d+)\n/.exec(value)
  if (!match) return undefined
  const [head, incarnation, ttl] = match as unknown as [string, string, string]
  const record = decodeRecord(value.slice(head.length))
  return record && { service, id, incarnation, ttl: Number(ttl), record, suspect: false }
}

/** Undefined when it is no JSON object. */
export function decodeRecord(json: string): LeaseRecord | undefined {
  try {
    // A reviver makes parsing several times slower, and the key is as good as never there.
    const value: unknown = /__proto__|\\u005f/i.test(json)
      ? JSON.parse(json, (key, inner: unknown) => (key === '__proto__' ? undefined : inner))
      : JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as LeaseRecord)
      : undefined
  } catch {
    return undefined
  }
}

/** A lease with its ages at `now`, when its deadline is `deadline`; both by the store's clock. */
export function aged(lease: StoredLease, deadline: number, now: number): Lease {
  const { service, id, incarnation, record, ttl } = lease
  const expiresIn = deadline - now
  const age = Math.max(0, ttl - expiresIn)
  return { service, id, incarnation, record, suspect: expiresIn <= 0, expiresIn, age }
}
