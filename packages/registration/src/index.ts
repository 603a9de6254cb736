import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { OptionError } from '@muster/options'
import readiness, { advertisedUrl } from '@muster/readiness'
import { type Announcement, Enrolment, type EnrolmentState } from './enrolment.ts'
import { AdvertiseError, InfoError, NotRegisteredError } from './errors.ts'
import { readOptions } from './options.ts'
import { ServiceRegistration } from './service-registration.ts'

export interface RegistrationOptions {
  /**
   * Where to register; several: with each. Normally ends in `/$register`.
   * @default MUSTER_ORCHESTRATOR_URL, SERVICEKIT_ORCHESTRATOR_URL, or no registration
   */
  url?: string | URL | (string | URL)[] | null | undefined
  /** Name of the service, a slug. @default that of readiness */
  service?: string | undefined
  /** Name of this replica. @default that of readiness */
  instanceId?: string | undefined
  /**
   * The complete URL under which others reach this service, or parts of it.
   * @default MUSTER_HOST and MUSTER_PORT, or the bound address; for a wildcard address the host name
   */
  advertise?: string | URL | { host?: string | undefined; port?: number | undefined } | undefined
  /**
   * What the orchestrator learns about the service, over `id`, `display_name`, `version` and `description`; a
   * function is called for each registration. @default {}
   */
  info?: Record<string, unknown> | (() => Record<string, unknown>) | undefined
  /** Sent as X-Service-Key, shown nowhere. @default MUSTER_REGISTRATION_KEY */
  key?: string | undefined
  /** Further request headers. @default {} */
  headers?: Record<string, string> | undefined
  /**
   * Instead of what the orchestrator answers: where to ping, how often and how long to wait, in ms.
   * @default the answered ping_url, a third of the answered TTL, four fifths of the interval
   */
  ping?:
    | {
        url?: string | URL | undefined
        interval?: number | undefined
        timeout?: number | undefined
      }
    | undefined
  /** ms for one registration; the orchestrator may call the service meanwhile. @default 15000 */
  timeout?: number | undefined
  /** ms between attempts: doubling from `min` to `max`, with full jitter, for ever. @default { min: 500, max: 30000 } */
  retry?: { min?: number | undefined; max?: number | undefined } | undefined
  /**
   * Fails the service when it is not registered everywhere `within` ms from being ready: the app is closed and
   * `process.exitCode` is 1, unless readiness was told to stay.
   * @default false; `true` is { within: 30000 }
   */
  required?: boolean | { within?: number | undefined } | undefined
  /** Whether to deregister on the way down. @default true */
  deregister?: boolean | undefined
  /** Certificates in PEM to trust for https, instead of Node's own. */
  ca?: string | Buffer | undefined
}

export type RegistrationState = 'off' | EnrolmentState

export interface RegistrationChange {
  /** Where; without user, password and query. */
  orchestrator: string
  state: RegistrationState
  previous: RegistrationState
}

export type RegistrationListener = (change: RegistrationChange) => void

export interface OrchestratorReport {
  orchestrator: string
  state: RegistrationState
  /** Attempts in a row without success. */
  failures: number
  /** ISO 8601 */
  lastPing?: string
  /** ISO 8601 */
  nextAttempt?: string
  /** Why the last attempt failed. */
  error?: string
}

/** With several orchestrators, what it says is that of the one where things are worst. */
export interface Registration {
  readonly state: RegistrationState
  /** The info announced last. */
  readonly info: Record<string, unknown> | undefined
  readonly lastPing: Date | undefined
  /** Attempts in a row without success. */
  readonly failures: number
  /** When the next ping or registration is due. */
  readonly nextAttempt: Date | undefined
  /** Each orchestrator by itself. */
  readonly orchestrators: OrchestratorReport[]
  on(event: 'change', listener: RegistrationListener): this
  off(event: 'change', listener: RegistrationListener): this
}

declare module 'fastify' {
  interface FastifyInstance {
    registration: Registration
  }
}

// oxlint-disable-next-line typescript/no-wrapper-object-types -- Fastify hands on the primitive, but intersects its type with an object type
const plugin: FastifyPluginAsync<String | URL | RegistrationOptions> = async (app, input) => {
  const { urls, service, instanceId, required, ...options } = readOptions(input)
  if (app.hasDecorator('registration')) {
    throw new OptionError(
      'registration: already registered; for several orchestrators give several URLs'
    )
  }
  if (!app.hasDecorator('readiness')) await app.register(readiness, { service, instanceId })
  const { identity } = app.readiness
  const id = service ?? identity.service
  const instance_id = instanceId ?? identity.instanceId
  const registration = new ServiceRegistration((err) =>
    app.log.error({ err }, 'a registration listener failed')
  )
  app.decorate('registration', registration)
  if (urls.length === 0) {
    app.log.info('registration is off: neither option "url" nor MUSTER_ORCHESTRATOR_URL is set')
    return
  }
  const enrolments = urls.map(enrol)
  let deadline: NodeJS.Timeout | undefined

  app.readiness.on('change', ({ state }) => {
    if (state === 'ready') start()
  })
  app.readiness.onDrain('registration', async (limit) => {
    clearTimeout(deadline)
    await Promise.all(enrolments.map((enrolment) => enrolment.leave(limit)))
  })
  app.readiness.describe('registration', () => registration.orchestrators)

  function enrol(url: URL): Enrolment {
    if (!/\/(\$|%24)register$/i.test(url.pathname)) {
      app.log.warn(
        { path: url.pathname },
        'the orchestrator URL does not end in /$register; a shell or a compose file may have swallowed it (write $$register there)'
      )
    }
    const enrolment = new Enrolment(
      { ...options, url, announce, headers: requestHeaders(), secrets: secretsOf(url) },
      app.log,
      (state, previous) =>
        registration.tell({ orchestrator: enrolment.orchestrator, state, previous })
    )
    registration.add(enrolment)
    return enrolment
  }

  function announce(): Announcement {
    const tls = 'https' in app.initialConfig && Boolean(app.initialConfig.https)
    const { hostname, version, incarnation } = identity
    const { advertise } = options
    const url =
      typeof advertise === 'string'
        ? advertise
        : advertisedUrl(app.addresses(), { tls, hostname }, advertise)
    if (url === undefined) throw new AdvertiseError()
    const defaults = { id, display_name: id, version, description: null }
    return { id, url, info: { ...defaults, ...readInfo(options.info) }, instance_id, incarnation }
  }

  function requestHeaders(): Record<string, string> {
    return {
      accept: 'application/json',
      'user-agent': 'muster-registration',
      'x-muster-instance': encodeURIComponent(instance_id),
      'x-muster-incarnation': identity.incarnation,
      ...(options.key === undefined ? {} : { 'x-service-key': options.key }),
      ...options.headers
    }
  }

  function secretsOf({ password }: URL): string[] {
    const { key = '', headers } = options
    return [key, password, decodeURIComponent(password), ...Object.values(headers)].filter(
      (text) => text.length > 3
    )
  }

  function start(): void {
    for (const enrolment of enrolments) enrolment.start()
    if (required) deadline ??= setTimeout(assertRegistered, required.within, required.within)
  }

  function assertRegistered(within: number): void {
    const missing = enrolments.find(({ registeredAt }) => !registeredAt)
    if (!missing) return
    const why = missing.error?.message ?? 'no answer yet'
    const err = new NotRegisteredError(missing.orchestrator, within, why)
    app.log.fatal({ err }, err.message)
    app.readiness.fail(err.message)
  }
}

/** A copy as JSON has it. */
function readInfo(info: unknown): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(JSON.stringify(typeof info === 'function' ? info() : info))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  } catch (error) {
    throw new InfoError(error instanceof Error ? error.message : String(error), { cause: error })
  }
  throw new InfoError('the function did not return an object')
}

export const registration = fp(plugin, { name: '@muster/registration', fastify: '5.x' })
export default registration
