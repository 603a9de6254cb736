import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'

/** Who this is, fixed at registration. */
export interface Identity {
  /** What it is: a slug. */
  readonly service: string
  /** Which replica. */
  readonly instanceId: string
  /** A random token of this start; what is left outside the process carries it, and only its owner removes it. */
  readonly incarnation: string
  /** ISO 8601, UTC. */
  readonly startedAt: string
  readonly pid: number
  readonly hostname: string
  readonly version: string
}

export function createIdentity(given: {
  service?: string | undefined
  instanceId?: string | undefined
  version?: string | undefined
}): Identity {
  const manifest =
    nearestManifest(process.cwd()) ?? nearestManifest(dirname(process.argv[1] ?? '/'))
  const host = hostname()
  return Object.freeze({
    service: given.service ?? slugOf(manifest?.name),
    instanceId: given.instanceId ?? `${host}-${process.pid}-${randomBytes(2).toString('hex')}`,
    incarnation: randomBytes(8).toString('hex'),
    startedAt: new Date().toISOString(),
    pid: process.pid,
    hostname: host,
    version: given.version ?? (typeof manifest?.version === 'string' ? manifest.version : '0.0.0')
  })
}

function nearestManifest(directory: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
  } catch {
    const parent = dirname(directory)
    return parent === directory ? undefined : nearestManifest(parent)
  }
}

/** `@acme/Billing_API` → `billing-api` */
function slugOf(name: unknown): string {
  if (typeof name !== 'string') return 'service'
  const words =
    name
      .replace(/^@[^/]*\//, '')
      .toLowerCase()
      .match(/[a-z0-9]+/g) ?? []
  const slug = words
    .join('-')
    .replace(/^[0-9-]+/, '')
    .slice(0, 128)
  return slug.replace(/-$/, '') || 'service'
}
