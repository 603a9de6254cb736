import { type LeaseStore, memoryLeases, redisLeases, type RedisSource } from '@muster/leases'
import { OptionError } from '@muster/options'
import readiness, { advertisedUrl } from '@muster/readiness'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Announcer, type PresenceState } from './announcer.ts'
import { Directory, type PresenceEvent } from './directory.ts'
import type { Instance, InstanceStatus } from './instance.ts'
import type { Metadata } from './metadata.ts'
import { readOptions } from './options.ts'
import { OwnRecord } from './own-record.ts'
import { type RequestName, takeRequest } from './requests.ts'
import { ServicePresence } from './service-presence.ts'

export type { Instance, InstanceStatus, Metadata, PresenceEvent, PresenceState, RequestName }

export interface PresenceOptions {
  /** Name of the service, a slug. @default that of readiness */
  service?: string | undefined
  /** Name of this replica. @default that of readiness */
  instanceId?: string | undefined
  /**
   * The registry: a URL, ioredis options (Sentinel too), or an ioredis `Redis` or `Cluster`, which is duplicated and
   * never closed. @default the memory of this process
   */
  redis?: RedisSource | undefined
  /** Another lease store in its place; it is not closed. */
  store?: LeaseStore | undefined
  /** Instances of one namespace see each other. @default 'default' */
  namespace?: string | undefined
  /** ms without a heartbeat after which an instance is gone; at least three times `heartbeat`. @default 15000 */
  ttl?: number | undefined
  /** ms between heartbeats; each comes up to 10 % sooner or later. @default 5000 */
  heartbeat?: number | undefined
  /** ms that instances are kept as suspect when too many are gone at once, or the registry lost its data. @default ttl */
  grace?: number | undefined
  /** ms that an operation on Redis may take. @default 1500 */
  timeout?: number | undefined
  /** What others see beside the status, at most 16 KiB of JSON. A function is called at each heartbeat. @default {} */
  metadata?: Metadata | (() => Metadata) | undefined
  /**
   * Prefix of a plain Redis key besides, `<prefix><service>:<id>`, with the record as JSON, for readers that know no
   * other layout. @default none
   */
  mirror?: string | undefined
  /**
   * What others may ask of this instance through the registry; looked for at each heartbeat. `drain`: what to do then,
   * or `true` for `app.readiness.drain()`. @default nothing
   */
  requests?: { drain?: boolean | (() => unknown) | undefined } | undefined
  /** The URL under which others reach this instance. @default the bound address; for a wildcard the host name */
  advertise?: string | URL | undefined
  /** Keeps the service from being ready until it was announced. @default false */
  required?: boolean | undefined
}

/** Names one start of an instance. */
export type Requested = Pick<Instance, 'service' | 'instanceId' | 'incarnation'>

/** This instance, as it announces itself. */
export interface Self {
  service: string
  instanceId: string
  incarnation: string
  status: InstanceStatus
  state: PresenceState
}

export interface Presence {
  readonly self: Self
  /**
   * The instances of a service. While the registry is away: those last seen, with `stale` saying for how long.
   * @param options `age`: also how long ago each was heard of, which costs a look at every one
   * @throws MUSTER_ERR_STORE_UNAVAILABLE when the registry is away and the service was never read
   */
  instances(service: string, options?: { age?: boolean | undefined }): Promise<readonly Instance[]>
  /** The services that have an instance. */
  services(): Promise<string[]>
  /**
   * A snapshot, then every change. Waits while the registry is away. Ends with the signal or the app.
   * @param service all services if omitted
   */
  watch(
    service?: string,
    options?: { signal?: AbortSignal | undefined }
  ): AsyncGenerator<PresenceEvent>
  /**
   * Changes parts of the metadata; resolves when it was tried to tell the others. What could not be told is with the
   * next heartbeat that gets through.
   * @throws MUSTER_ERR_METADATA
   */
  update(metadata: Metadata): Promise<void>
  /**
   * Asks something of another instance; resolves when the request is in the registry. Whether it is honoured is seen
   * in its status.
   * @throws MUSTER_ERR_REQUEST_NOT_ACCEPTED
   */
  request(instance: Requested, name: RequestName): Promise<void>
  on(state: PresenceState, listener: () => void): this
  off(state: PresenceState, listener: () => void): this
}

declare module 'fastify' {
  interface FastifyInstance {
    presence: Presence
  }
}

/** ms that leaving may take when the app closes. */
const LEAVE_TIMEOUT = 2_000

async function plugin(app: FastifyInstance, input: PresenceOptions): Promise<void> {
  const { service, instanceId, redis, required, ...options } = readOptions(input)
  if (app.hasDecorator('presence')) {
    throw new OptionError('presence: already registered; one namespace is enough for one app')
  }
  const store = options.store ?? createStore()
  if (!app.hasDecorator('readiness')) await app.register(readiness, { service, instanceId })
  const { identity } = app.readiness
  const key = {
    service: service ?? identity.service,
    id: instanceId ?? identity.instanceId,
    incarnation: identity.incarnation
  }
  const { drain = false } = options.requests
  const own = new OwnRecord(identity, options.metadata, drain ? ['drain'] : [], (err) =>
    app.log.warn({ err }, 'metadata stays as it was')
  )
  const announcer = new Announcer({
    store,
    key,
    heartbeat: options.heartbeat,
    record: () => own.read(),
    onBeat: drain ? honourRequests : undefined,
    onError
  })
  const directory = new Directory(store, ({ id }) =>
    app.log.warn({ id }, 'passed over a record that is no instance (said once)')
  )
  const hold = required ? app.readiness.hold('presence') : undefined

  app.decorate('presence', new ServicePresence({ store, key, own, announcer, directory }))
  app.readiness.describe('presence', () => app.presence.self)
  announcer.on('present', () => hold?.release())
  announcer.on('fenced', () => {
    app.log.warn(
      key,
      'another start of this instance holds its id: this one is not announced any more'
    )
  })

  app.readiness.on('change', ({ state }) => {
    if (state === 'failed') return void announcer.leave(LEAVE_TIMEOUT)
    own.status = state
    void announcer.announce()
  })
  app.readiness.onDrain('presence', () => announcer.announce())
  app.addHook('onListen', async () => {
    const { state } = app.readiness
    if (state === 'draining' || state === 'failed') return
    const tls = 'https' in app.initialConfig && Boolean(app.initialConfig.https)
    own.url =
      options.advertise ?? advertisedUrl(app.addresses(), { tls, hostname: identity.hostname })
    announcer.start()
  })
  app.addHook('onClose', async () => {
    directory.close()
    await announcer.leave(LEAVE_TIMEOUT)
    if (!options.store) await store.close()
  })

  function createStore(): LeaseStore {
    const { namespace, ttl, grace, timeout, mirror } = options
    if (redis !== undefined) {
      return redisLeases({ redis, namespace, ttl, grace, timeout, mirror, logger: app.log })
    }
    app.log.info('presence is kept in the memory of this process: option "redis" is not set')
    return memoryLeases({ namespace, ttl, grace })
  }

  async function honourRequests(): Promise<void> {
    if ((await takeRequest(store, key)) !== 'drain') return
    app.log.info('asked through the registry to drain')
    if (typeof drain === 'function') await drain()
    else void app.readiness.drain('asked through the registry')
  }

  function onError(err: unknown): void {
    // The store says itself when its server is away.
    if (!options.store && isStoreError(err)) return
    if (announcer.state !== 'lost') app.log.warn({ err }, 'presence could not be announced')
  }
}

function isStoreError(error: unknown): boolean {
  return (
    error instanceof Error && 'code' in error && String(error.code).startsWith('MUSTER_ERR_STORE_')
  )
}

export const presence = fp(plugin, { name: '@muster/presence', fastify: '5.x' })
export default presence
