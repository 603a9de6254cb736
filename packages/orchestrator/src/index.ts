import type { LeaseStore } from '@muster/leases'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { readOptions } from './options.ts'
import { Roster } from './roster.ts'
import { routes } from './routes.ts'

export interface OrchestratorOptions {
  /** Where the registrations are; with `redisLeases()` several orchestrators share them. @default memory */
  store?: LeaseStore | undefined
  /** ms that a registration lives without a ping. @default 30000, or that of `store` */
  ttl?: number | undefined
  /** What a client must send to register, in X-Service-Key or as a Bearer token; several while they rotate. @default none */
  key?: string | string[] | undefined
  /** What a reader must send; `key` opens as well. @default none: everybody may read */
  readKey?: string | string[] | undefined
  /** Where the routes are. @default '/services' */
  prefix?: string | undefined
}

async function plugin(app: FastifyInstance, input: OrchestratorOptions): Promise<void> {
  const { store, ownsStore, prefix, key, readKey } = readOptions(input)
  await app.register(routes, { prefix, roster: new Roster(store), key, readKey })
  app.addHook('onClose', async () => {
    if (ownsStore) await store.close()
  })
}

export const orchestrator = fp(plugin, { name: '@muster/orchestrator', fastify: '5.x' })
export default orchestrator
