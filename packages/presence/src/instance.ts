import type { LeaseEntry } from '@muster/leases'
import type { Metadata } from './metadata.ts'

export type InstanceStatus = 'starting' | 'ready' | 'unready' | 'draining'

/** One instance of a service, as its registry shows it. The conditions are those of an EndpointSlice. */
export interface Instance {
  service: string
  instanceId: string
  /** A random token of its start. */
  incarnation: string
  status: InstanceStatus
  /** Where it is reached; absent when it listens on no port. */
  url?: string
  /** ISO 8601, UTC. */
  startedAt: string
  pid: number
  hostname: string
  version: string
  metadata: Metadata
  /** What others may ask of it with `request()`. */
  accepts: string[]
  /** It says that it is ready, and is heard of. */
  ready: boolean
  /** It answers requests: ready, or draining. */
  serving: boolean
  /** It is on its way down: draining. */
  terminating: boolean
  /** It was not heard of in time, but too many were not at once, or the registry lost its data. */
  suspect: boolean
  /** ms since the registry could last be asked, this being what it said then; 0 for what it says now. */
  stale: number
  /** ms since its last heartbeat; only if asked for. */
  age?: number
}

const STATUSES: unknown[] = ['starting', 'ready', 'unready', 'draining'] satisfies InstanceStatus[]

/** Undefined when the record is none of ours: others may write to the same namespace. */
export function toInstance({
  service,
  id,
  incarnation,
  record,
  suspect
}: LeaseEntry): Instance | undefined {
  const { status, url, startedAt, pid, hostname, version, metadata, accepts } = record
  if (!isStatus(status)) return undefined
  if (typeof metadata !== 'object' || metadata === null) return undefined
  const terminating = status === 'draining'
  return {
    service,
    instanceId: id,
    incarnation,
    status,
    ...(typeof url === 'string' ? { url } : {}),
    startedAt: String(startedAt),
    pid: Number(pid),
    hostname: String(hostname),
    version: String(version),
    metadata: metadata as Metadata,
    accepts: Array.isArray(accepts) ? accepts.map(String) : [],
    ready: status === 'ready' && !suspect,
    serving: (status === 'ready' && !suspect) || terminating,
    terminating,
    suspect,
    stale: 0
  }
}

function isStatus(status: unknown): status is InstanceStatus {
  return STATUSES.includes(status)
}
