/** What a successful registration gives: who we are over there and how to stay. */
export interface Ticket {
  /** The orchestrator's id for us, not always the one we asked for. */
  id: string
  pingUrl: URL
  /** ms */
  ttl: number
}

const DEFAULT_TTL = 30_000
/** A loss is noticed by a ping: even under an endless TTL there is one a minute. */
const LONGEST_TTL = 180_000
const SHORTEST_TTL = 300

/** Reads the answer to a registration as far as it makes sense, and fills in the rest. */
export function readTicket(registerUrl: URL, body: string, ourId: string): Ticket {
  const given = parse(body)
  const id = typeof given['id'] === 'string' && given['id'] !== '' ? given['id'] : ourId
  return {
    id,
    pingUrl: readPingUrl(registerUrl, given['ping_url'], id),
    ttl: readTtl(given['ttl_seconds'])
  }
}

function parse(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

function readTtl(value: unknown): number {
  const seconds = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  if (typeof seconds !== 'number' || !Number.isFinite(seconds) || seconds <= 0) return DEFAULT_TTL
  return Math.min(Math.max(seconds * 1_000, SHORTEST_TTL), LONGEST_TTL)
}

/** A server behind a TLS proxy often does not know its own scheme: on the same host, ours is the one that works. */
function readPingUrl(registerUrl: URL, value: unknown, id: string): URL {
  const fallback = memberUrl(registerUrl, id, '/$ping')
  if (typeof value !== 'string' || value === '' || !URL.canParse(value, registerUrl))
    return fallback
  const url = new URL(value, registerUrl)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return fallback
  if (url.hostname !== registerUrl.hostname) return url
  url.username = registerUrl.username
  url.password = registerUrl.password
  if (url.protocol === registerUrl.protocol) return url
  url.protocol = registerUrl.protocol
  url.port = registerUrl.port
  return url
}

/** `<base>/<id><rest>`, where `<base>/$register` is where registrations go. */
export function memberUrl(registerUrl: URL, id: string, rest = ''): URL {
  const url = new URL(registerUrl)
  const base = url.pathname.replace(/(\/(\$|%24)register)?\/*$/i, '')
  url.pathname = `${base}/${encodeURIComponent(id)}${rest}`
  return url
}
