import type { LeaseKey, LeaseStore } from '@muster/leases'
import type { Announcer, PresenceState } from './announcer.ts'
import type { Directory, PresenceEvent } from './directory.ts'
import { RequestNotAcceptedError } from './errors.ts'
import type { Presence, Requested, Self } from './index.ts'
import type { Instance } from './instance.ts'
import type { Metadata } from './metadata.ts'
import type { OwnRecord } from './own-record.ts'
import { leaveRequest, type RequestName } from './requests.ts'

interface Parts {
  store: LeaseStore
  key: LeaseKey
  own: OwnRecord
  announcer: Announcer
  directory: Directory
}

/** `app.presence`. */
export class ServicePresence implements Presence {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get self(): Self {
    const { key, own, announcer } = this.#parts
    const { service, id, incarnation } = key
    return { service, instanceId: id, incarnation, status: own.status, state: announcer.state }
  }

  instances(
    service: string,
    options?: { age?: boolean | undefined }
  ): Promise<readonly Instance[]> {
    return this.#parts.directory.instances(service, options)
  }

  services(): Promise<string[]> {
    return this.#parts.directory.services()
  }

  watch(
    service?: string,
    options?: { signal?: AbortSignal | undefined }
  ): AsyncGenerator<PresenceEvent> {
    return this.#parts.directory.watch(service, options)
  }

  async update(metadata: Metadata): Promise<void> {
    this.#parts.own.update(metadata)
    await this.#parts.announcer.announce()
  }

  async request(instance: Requested, name: RequestName): Promise<void> {
    const { service, instanceId, incarnation } = instance
    const there = (await this.instances(service)).find((one) => one.incarnation === incarnation)
    if (!there?.accepts.includes(name)) throw new RequestNotAcceptedError(instanceId, name)
    await leaveRequest(this.#parts.store, incarnation, name)
  }

  on(state: PresenceState, listener: () => void): this {
    this.#parts.announcer.on(state, listener)
    return this
  }

  off(state: PresenceState, listener: () => void): this {
    this.#parts.announcer.off(state, listener)
    return this
  }
}
