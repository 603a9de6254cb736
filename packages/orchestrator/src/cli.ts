import { type LeaseStore, memoryLeases, redisLeases } from '@muster/leases'
import readiness from '@muster/readiness'
import shutdown from '@muster/shutdown'
import Fastify, { type FastifyBaseLogger } from 'fastify'
import { readCommandLine, type Settings } from './command-line.ts'
import orchestrator from './index.ts'

/** Redis may be away for any time: until it is back, this answers 503. */
const FOR_EVER = 2 ** 31 - 1
const WRONGLY_CALLED = new Set(['MUSTER_ERR_USAGE', 'MUSTER_ERR_OPTION'])

try {
  const settings = readCommandLine(process.argv.slice(2))
  if (typeof settings === 'string') process.stdout.write(settings)
  else await run(settings)
} catch (error) {
  const { code = '', message } = error as Error & { code?: string }
  process.stderr.write(`muster-orchestrator: ${message}\n`)
  process.exitCode = WRONGLY_CALLED.has(code) ? 2 : 1
}

async function run({
  port,
  host,
  prefix,
  key,
  readKey,
  logLevel,
  ...storage
}: Settings): Promise<void> {
  const app = Fastify({ logger: { level: logLevel } })
  const store = createStore(storage, app.log)
  app.addHook('onClose', async () => {
    await store.close()
  })
  try {
    await app.register(readiness, {
      service: 'orchestrator',
      timeout: FOR_EVER,
      checks: { store: async () => void (await store.get('orchestrator', 'check')) }
    })
    await app.register(shutdown)
    await app.register(orchestrator, { store, key, readKey, prefix })
    await app.listen({ port, host })
  } catch (error) {
    await app.close()
    throw error
  }
  if (key.length === 0) app.log.warn('without --key-file anybody may register')
}

function createStore(
  { redis, namespace, ttl }: Pick<Settings, 'redis' | 'namespace' | 'ttl'>,
  logger: FastifyBaseLogger
): LeaseStore {
  return redis === undefined
    ? memoryLeases({ namespace, ttl })
    : redisLeases({ redis, namespace, ttl, logger })
}
