import type { LeaseRecord } from '@muster/leases'
import type { Identity } from '@muster/readiness'
import type { InstanceStatus } from './instance.ts'
import { type Metadata, readMetadata } from './metadata.ts'

/** What this instance announces of itself. */
export class OwnRecord {
  status: InstanceStatus = 'starting'
  url: string | undefined
  readonly #identity: Identity
  readonly #accepts: string[]
  readonly #source: (() => Metadata) | undefined
  readonly #onError: (error: unknown) => void
  #metadata: Metadata
  #changes: Metadata = {}
  #failing = false

  /** @throws MUSTER_ERR_METADATA */
  constructor(
    identity: Identity,
    metadata: Metadata | (() => Metadata),
    accepts: string[],
    onError: (error: unknown) => void
  ) {
    this.#identity = identity
    this.#accepts = accepts
    this.#source = typeof metadata === 'function' ? metadata : undefined
    this.#metadata = typeof metadata === 'function' ? {} : readMetadata(metadata)
    this.#onError = onError
  }

  /** @throws MUSTER_ERR_METADATA */
  update(given: Metadata): void {
    const changes = { ...this.#changes, ...readMetadata(given) }
    readMetadata({ ...this.#metadata, ...changes })
    this.#changes = changes
  }

  read(): LeaseRecord {
    const { startedAt, pid, hostname, version } = this.#identity
    const metadata = this.#readMetadata()
    const { status, url } = this
    const accepts = this.#accepts
    return { status, url, startedAt, pid, hostname, version, metadata, accepts }
  }

  /** A function that fails must not cost the heartbeat: what it said last stands. */
  #readMetadata(): Metadata {
    try {
      const base = this.#source ? readMetadata(this.#source()) : this.#metadata
      const merged = readMetadata({ ...base, ...this.#changes })
      this.#metadata = base
      this.#failing = false
      return merged
    } catch (error) {
      if (!this.#failing) this.#onError(error)
      this.#failing = true
      return this.#metadata
    }
  }
}
