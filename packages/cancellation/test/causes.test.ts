import { execFile } from 'node:child_process'
import { on, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline/promises'
import { PassThrough, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setInterval as ticks, setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { eventually, freePort, rawRequest, type RedisServer, startRedis } from '@muster/testkit'
import fastify, { type FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import pg from 'pg'
import { createClient } from 'redis'
import { request as undiciRequest } from 'undici'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import cancellation, { type Cancellation } from '../src/index.ts'
import { listen } from './listen.ts'
import { type Postgres, startPostgres } from './postgres.ts'

const adapters = {
  ...(await import(String(new URL('./adapters/pg.js', import.meta.url)))),
  ...(await import(String(new URL('./adapters/ioredis.js', import.meta.url)))),
  ...(await import(String(new URL('./adapters/child-process.js', import.meta.url))))
}

let redis: RedisServer
let postgres: Postgres
let pool: pg.Pool
const deaf = createServer(() => {})
let deafUrl = ''
let app = fastify()

beforeAll(async () => {
  ;[redis, postgres] = await Promise.all([startRedis(), startPostgres()])
  pool = new pg.Pool(postgres.config)
  // The server goes while connections are still being closed.
  pool.on('error', () => {})
  deaf.listen(0, '127.0.0.1')
  await once(deaf, 'listening')
  deafUrl = `http://127.0.0.1:${(deaf.address() as AddressInfo).port}`
}, 30_000)

afterEach(() => app.close())

afterAll(async () => {
  deaf.closeAllConnections()
  deaf.close()
  await pool.end()
  await Promise.all([redis.close(), postgres.close()])
})

type Work = (token: Cancellation, request: FastifyRequest) => Promise<unknown>

/** Work that would take forever, each with a library's own way to be stopped. */
const works: Record<string, Work> = {
  fetch: ({ signal }) => fetch(deafUrl, { signal }),
  'app.cancellation.fetch': (_, request) => app.cancellation.fetch(request, deafUrl),
  'undici request': ({ signal }) => undiciRequest(deafUrl, { signal }),
  'timers/promises setTimeout': ({ signal }) => pause(60_000, null, { signal }),
  'timers/promises setInterval': async ({ signal }) => {
    for await (const _ of ticks(60_000, null, { signal }));
  },
  'events.once': ({ signal }) => once(new PassThrough(), 'never', { signal }),
  'events.on': async ({ signal }) => {
    for await (const _ of on(new PassThrough(), 'never', { signal }));
  },
  'stream.pipeline': ({ signal }) => pipeline(new PassThrough(), new PassThrough(), { signal }),
  'readline question': ({ signal }) =>
    createInterface({ input: new PassThrough() }).question('?', { signal }),
  'child_process execFile': ({ signal }) => promisify(execFile)('sleep', ['60'], { signal }),
  'child_process with its adapter': (token) => adapters.runProgram(token, 'sleep', ['60']),
  'pg with its adapter': (token) => adapters.cancellableQuery(pool, token, 'select pg_sleep(60)'),
  'ioredis with its adapter': async (token) => {
    const client = new Redis(redis.url, { lazyConnect: true })
    try {
      await adapters.blocking(client, token, (own: Redis) => own.blpop('never', 0))
    } finally {
      client.disconnect()
    }
  },
  'node-redis, with a command that waits for the server': async ({ signal }) => {
    const port = await freePort()
    const client = createClient({ socket: { host: '127.0.0.1', port } }).on('error', () => {})
    void client.connect().catch(() => {})
    try {
      await client.withAbortSignal(signal).get('never')
    } finally {
      client.destroy()
    }
  },
  'Promise.all': ({ signal }) =>
    Promise.all([pause(60_000, null, { signal }), fetch(deafUrl, { signal })]),
  'Promise.any': ({ signal }) =>
    Promise.any([pause(60_000, null, { signal }), fetch(deafUrl, { signal })]),
  'race()': (token) => token.race(new Promise(() => {})),
  'AbortSignal.any': ({ signal }) =>
    pause(60_000, null, { signal: AbortSignal.any([signal, AbortSignal.timeout(60_000)]) }),
  'an AbortController of its own': async ({ signal }) => {
    const controller = new AbortController()
    signal.addEventListener('abort', () => controller.abort())
    await pause(60_000, null, { signal: controller.signal })
  }
}

const POST = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi'

/** An app whose POST / does `work`, and what its hooks and log see. */
async function start(work: Work, ownHandler = false) {
  const seen = {
    handled: [] as unknown[],
    onError: 0,
    onResponse: [] as number[],
    log: [] as { level: number; msg: string; err?: { stack?: string } }[]
  }
  const requests: FastifyRequest[] = []
  const stream = new Writable({
    write(line, _, done) {
      seen.log.push(JSON.parse(String(line)))
      done()
    }
  })
  app = fastify({ logger: { stream } }) as unknown as typeof app
  await app.register(cancellation)
  app.addHook('onError', async () => void seen.onError++)
  app.addHook('onResponse', async (_, reply) => void seen.onResponse.push(reply.statusCode))
  if (ownHandler) {
    app.setErrorHandler((error, _, reply) => {
      seen.handled.push(error)
      return reply.code(599).send('mine')
    })
  }
  app.post('/', async (request) => {
    requests.push(request)
    await work(request.cancellation, request)
  })
  const port = await listen(app)
  const response = rawRequest(port, POST)
  await eventually(() => expect(requests.length).toBe(1))
  // So that the work has really begun, also what has to connect first.
  await pause(60)
  return { seen, response, token: requests[0]!.cancellation }
}

describe.each(Object.entries(works))('%s, when the process goes', (_, work) => {
  test('is stopped at once and answered 503; hooks run once, and nothing is logged as an error', async () => {
    const { seen, response } = await start(work)
    const begun = performance.now()
    await app.cancellation.shutdown('soft')
    expect(JSON.parse((await response).body)).toMatchObject({ code: 'MUSTER_ERR_SHUTDOWN' })
    expect(performance.now() - begun).toBeLessThan(2_000)
    await eventually(() => expect(seen.onResponse).toEqual([503]))
    expect(seen.onError).toBe(1)
    const lines = seen.log.filter(({ level, err }) => level > 30 || err)
    expect(lines).toEqual([])
  })

  test("comes to the application's own error handler as the reason", async () => {
    const { seen, response, token } = await start(work, true)
    await app.cancellation.shutdown('soft')
    expect((await response).body).toBe('mine')
    expect(seen.handled).toEqual([token.reason])
    expect(seen.handled[0]).toBe(token.reason)
    expect(seen.onError).toBe(1)
  })
})

const failures: Record<string, [work: Work, message: RegExp]> = {
  'fetch of a host that refuses': [() => fetch('http://127.0.0.1:1'), /fetch failed/],
  'a query with a fault': [
    (token) => adapters.cancellableQuery(pool, token, 'select no_such_column'),
    /no_such_column/
  ],
  'a query that another session cancels': [
    (token) =>
      adapters.cancellableQuery(
        pool,
        token,
        'select pg_cancel_backend(pg_backend_pid()), pg_sleep(1)'
      ),
    /canceling statement/
  ],
  'a program that is not there': [
    (token) => adapters.runProgram(token, '/no/such/program', []),
    /ENOENT/
  ],
  'a timeout of its own': [
    () => pause(60_000, null, { signal: AbortSignal.timeout(50) }),
    /aborted/
  ]
}

describe.each(Object.entries(failures))('%s', (_, [work, message]) => {
  test('stays a 500 with its stack, while the process goes too', async () => {
    const late: Work = async (token, request) => {
      await once(token.signal, 'abort')
      await work(untouched(token), request)
    }
    const { seen, response } = await start(late)
    await app.cancellation.shutdown('soft')
    const { status, body } = await response
    expect(status).toBe(500)
    expect(body).toMatch(message)
    await eventually(() => expect(seen.onResponse).toEqual([500]))
    expect(seen.log.find(({ level }) => level === 50)?.err?.stack).toBeDefined()
  })
})

/** A token that is never cancelled, so that the work fails by itself. */
function untouched(token: Cancellation): Cancellation {
  return Object.create(token, {
    signal: { value: new AbortController().signal },
    onCancel: { value: () => ({ [Symbol.dispose]() {} }) },
    throwIfCancelled: { value() {} }
  }) as Cancellation
}

test('a query that was cancelled leaves its connection fit for the next', async () => {
  const { response } = await start((token) =>
    adapters.cancellableQuery(pool, token, 'select pg_sleep(60)')
  )
  await app.cancellation.shutdown('soft')
  expect((await response).status).toBe(503)
  for (let i = 0; i < 20; i++) {
    await expect(pool.query('select 1 as one')).resolves.toMatchObject({ rows: [{ one: 1 }] })
  }
  const { rows } = await pool.query(
    "select count(*)::int as running from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()"
  )
  expect(rows).toEqual([{ running: 0 }])
})

test.each(['pg', 'ioredis', 'child-process'])(
  'the docs show the adapter for %s as tested',
  (name) => {
    const docs = readFileSync(new URL('../../../docs/cancellation.md', import.meta.url), 'utf8')
    const adapter = readFileSync(new URL(`./adapters/${name}.js`, import.meta.url), 'utf8')
    expect(docs).toContain(adapter)
  }
)
