import { cancellation, type CancellationOptions } from '@muster/cancellation'
import { presence, type PresenceOptions } from '@muster/presence'
import { readiness, type ReadinessOptions } from '@muster/readiness'
import { registration, type RegistrationOptions } from '@muster/registration'
import { shutdown, type ShutdownOptions } from '@muster/shutdown'
import { warmup, type WarmupOptions } from '@muster/warmup'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { readOptions } from './options.ts'

type Identity = 'service' | 'instanceId' | 'version'

export interface ServiceOptions {
  /** Name of the service, a slug. @default the name in the nearest package.json */
  service?: string | undefined
  /** Name of this replica. @default `<hostname>-<pid>-<4 random>` */
  instanceId?: string | undefined
  /** Version of the service. @default the version in the nearest package.json */
  version?: string | undefined
  /** For `@muster/readiness`. @default {} */
  readiness?: Omit<ReadinessOptions, Identity> | undefined
  /** For `@muster/shutdown`; `false`: the application ends the process. @default {} */
  shutdown?: ShutdownOptions | false | undefined
  /** For `@muster/warmup`: what has to be made at boot. @default nothing */
  warmup?: WarmupOptions | undefined
  /** For `@muster/cancellation`; `false`: no `request.cancellation`. @default {} */
  cancellation?: CancellationOptions | false | undefined
  /** Where to register, or options for `@muster/registration`. @default MUSTER_ORCHESTRATOR_URL, or no registration */
  orchestrator?: string | URL | RegistrationOptions | false | undefined
  /** The Redis in which the instance is present. @default no presence */
  redis?: PresenceOptions['redis'] | undefined
  /** For `@muster/presence`, on where `redis` or this is given; without `redis` it is kept in memory. */
  presence?: Omit<PresenceOptions, 'redis'> | false | undefined
}

async function plugin(app: FastifyInstance, options: ServiceOptions): Promise<void> {
  readOptions(options)
  const { service, instanceId, version, redis } = options
  const { shutdown: ending = {}, cancellation: cancelling = {}, orchestrator = {} } = options
  const present = options.presence ?? (redis === undefined ? false : {})

  await app.register(readiness, { ...options.readiness, service, instanceId, version })
  if (ending) await app.register(shutdown, ending)
  if (options.warmup) await app.register(warmup, options.warmup)
  if (cancelling) await app.register(cancellation, cancelling)
  if (present) await app.register(presence, { ...present, redis })
  if (orchestrator) await app.register(registration, orchestrator)
}

export const service = fp(plugin, { name: '@muster/service', fastify: '5.x' })
export default service
