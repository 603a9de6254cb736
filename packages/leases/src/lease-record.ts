import { LeaseKeyError, LeaseRecordError } from './errors.ts'
import type { Lease, LeaseEntry, LeaseKey, LeaseRecord } from './lease-store.ts'

const MAX_RECORD_BYTES = 65_536
const MAX_NAME_BYTES = 128
// What separates the parts of a key, opens a hash tag, or ends a line.
// oxlint-disable-next-line no-control-regex -- these are meant; \p{Cc} is the same set, and slower
const UNSAFE = /[/#{}\u0000-\u001f\u007f-\u009f]/

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

/** A lease as it was read. */
export interface ReadLease extends StoredLease {
  readonly value: string
  /** The registry lost it: when, by our clock, it is given up unless it comes back. */
  readonly lostUntil: number | undefined
}

/** Reads '<incarnation> <ttl> <id>\n<json>'; undefined when it is anything else. */
export function decodeLease(service: string, value: string): ReadLease | undefined {
  // Every lease of a large service comes through here: no regular expression and no spread, which cost five times this.
  const line = value.indexOf('\n')
  const first = value.indexOf(' ')
  const second = value.indexOf(' ', first + 1)
  const ttl = Number(value.slice(first + 1, second))
  if (first < 1 || second < 0 || second > line || !(ttl > 0)) return undefined
  const record = decodeRecord(value.slice(line + 1))
  if (!record) return undefined
  return {
    service,
    id: value.slice(second + 1, line),
    incarnation: value.slice(0, first),
    ttl,
    record,
    suspect: false,
    value,
    lostUntil: undefined
  }
}

/** Undefined when it is no JSON object. */
export function decodeRecord(json: string): LeaseRecord | undefined {
  try {
    // A reviver makes parsing several times slower, and the key is as good as never there.
    const value: unknown = /__proto__|\\u005[fF]/.test(json)
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
