import type { LeaseStore } from '@muster/leases'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { EventHub, type RosterChange, type RosterEvent } from './event-hub.ts'
import { readOptions } from './options.ts'
import { type InstanceView, Roster, type RosterFilter, type ServiceView } from './roster.ts'
import { routes } from './routes.ts'

export type { InstanceView, RosterChange, RosterEvent, RosterFilter, ServiceView }

export interface OrchestratorOptions {
  /** Where the registrations are; with `redisLeases()` several orchestrators share them. @default memory */
  store?: LeaseStore | undefined
  /** ms that a registration lives without a ping. @default 30000, or that of `store` */
  ttl?: number | undefined
  /** What a client must send to register, in X-Service-Key or as a Bearer token; several while they rotate. @default none */
  key?: string | string[] | undefined
  /** What a reader must send; `key` opens as well. @default none: everybody may read */
  readKey?: string | string[] | undefined
  /** Whether GET and HEAD `<id>/run/*` go to an instance, which has `timeout` ms to answer. @default { timeout: 30000 } */
  proxy?: boolean | { timeout?: number | undefined } | undefined
  /** Where the routes are. @default '/services' */
  prefix?: string
}

/** Who is there. */
export interface Orchestrator {
  /** A page of services by id, as `GET /services` has it; `next` is what to go on `after`. */
  services(filter?: RosterFilter): Promise<{ services: ServiceView[]; next: string | undefined }>
  service(id: string): Promise<ServiceView | undefined>
  on(event: 'change', listener: (event: RosterEvent) => void): this
  off(event: 'change', listener: (event: RosterEvent) => void): this
}

declare module 'fastify' {
  interface FastifyInstance {
    orchestrator: Orchestrator
  }
}

async function plugin(app: FastifyInstance, input: OrchestratorOptions): Promise<void> {
  const { store, ownsStore, prefix, ...options } = readOptions(input)
  const roster = new Roster(store)
  const listeners = new Set<(event: RosterEvent) => void>()
  const hub = new EventHub(store, onChange, (err) =>
    app.log.error({ err }, 'following the store failed')
  )

  app.decorate('orchestrator', {
    services: (filter = {}) => roster.page(filter),
    service: (id) => roster.find(id),
    on(_, listener) {
      listeners.add(listener)
      return this
    },
    off(_, listener) {
      listeners.delete(listener)
      return this
    }
  } satisfies Orchestrator)
  await app.register(routes, { prefix, roster, hub, ...options })

  app.addHook('onListen', async () => {
    hub.start()
  })
  app.addHook('preClose', async () => {
    hub.close()
  })
  app.addHook('onClose', async () => {
    if (ownsStore) await store.close()
  })

  function onChange(event: RosterEvent): void {
    const { id, instance_id, status, url } = event.instance
    const isTrouble = event.type === 'expired' || status === 'suspect'
    const what = status === 'suspect' ? 'overdue with many others: kept as suspect' : event.type
    app.log[isTrouble ? 'warn' : 'info']({ service: id, instance: instance_id, url }, what)
    for (const listener of listeners) {
      try {
        listener(event)
      } catch (err) {
        app.log.error({ err }, 'an orchestrator listener failed')
      }
    }
  }
}

export const orchestrator = fp(plugin, { name: '@muster/orchestrator', fastify: '5.x' })
export default orchestrator
