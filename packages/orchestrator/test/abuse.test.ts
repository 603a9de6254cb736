import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import {
  eventually,
  type Fixture,
  type RawConnection,
  rawConnection,
  type RedisServer,
  startFixture,
  startRedis
} from '@muster/testkit'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { eventStream } from './event-stream.ts'
import { BILLING, register, send } from './raw-client.ts'

const SERVICES = 10_000
const PINGS_PER_SECOND = 5_000
const MiB = 1024 * 1024
const CONNECTIONS = 32
/** Has a process tell what its heap holds when it is asked. */
const HEAP_TELLER = `process.on('message', () => { gc(); process.send(process.memoryUsage().heapUsed) })`
const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })

interface Page {
  services: { id: string; last_ping_at: string; instances: unknown[] }[]
  next?: string
}

interface Server {
  fixture: Fixture
  port: number
  /** Bytes, before anybody had registered. */
  heapBefore: number
}

const fixtures: Fixture[] = []
let redis: RedisServer
let servers: { memory: Server; redis: Server }
let port: number

beforeAll(async () => {
  redis = await startRedis()
  const [onMemory, onRedis] = await Promise.all([serve(), serve('--redis', redis.url)])
  servers = { memory: onMemory, redis: onRedis }
  port = onRedis.port
}, 60_000)

afterAll(async () => {
  agent.destroy()
  await Promise.all(fixtures.map((fixture) => fixture.kill()))
  await redis.close()
})

/** Starts an orchestrator in a process of its own and registers all services with it. */
async function serve(...args: string[]): Promise<Server> {
  const fixture = startFixture(new URL('../bin/muster-orchestrator.js', import.meta.url), {
    args: ['--port', '0', '--ttl', '120000', '--log-level', 'info', ...args],
    execArgv: ['--expose-gc', '--import', `data:text/javascript,${HEAP_TELLER}`]
  })
  fixtures.push(fixture)
  const [, found] = await fixture.waitFor(/Server listening at http:\/\/127.0.0.1:(\d+)/)
  await fixture.waitFor(/"state":"ready"/)
  const heapBefore = await heapOf(fixture)
  await forEachService(async (i) => {
    const member = { id: `s-${i}`, instance_id: `i-${i}`, incarnation: 'x' }
    const body = { ...BILLING, ...member }
    expect(await call('POST', '/services/$register', body, Number(found))).toBe(201)
  })
  return { fixture, port: Number(found), heapBefore }
}

async function heapOf({ child }: Fixture): Promise<number> {
  child.send('heap')
  const [bytes] = await once(child, 'message')
  return bytes
}

/**
 * Writes each request when it is due, whether others have been answered or not, by turns on keep-alive connections.
 * @returns how many answers there were by status, once there are as many as requests or the connections are closed
 */
async function sendPaced(
  to: number,
  requests: string[],
  perSecond: number
): Promise<Record<string, number>> {
  const connections = await Promise.all(
    Array.from({ length: CONNECTIONS }, () => rawConnection(to))
  )
  const begun = performance.now()
  for (let sent = 0; sent < requests.length;) {
    const due = Math.ceil(((performance.now() - begun) / 1_000) * perSecond)
    for (; sent < Math.min(due, requests.length); sent++) {
      connections[sent % CONNECTIONS]?.write(requests[sent] as string)
    }
    await new Promise(setImmediate)
  }
  const statuses = await eventually(
    () => {
      const found = connections.flatMap(statusesOf)
      if (found.length < requests.length && !connections.every(({ closed }) => closed)) {
        throw new Error(`${found.length} of ${requests.length} are answered`)
      }
      return found
    },
    { deadline: 20_000, every: 250 }
  )
  for (const connection of connections) connection.destroy()
  const counts: Record<string, number> = {}
  for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

function statusesOf({ received }: RawConnection): string[] {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status as string)
}

function call(method: string, path: string, body?: object, to = port): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = body ? { 'content-type': 'application/json' } : {}
    const outgoing = request(
      { port: to, host: '127.0.0.1', method, path, agent, headers },
      (answer) => {
        answer.resume().once('end', () => resolve(answer.statusCode ?? 0))
      }
    )
    outgoing.once('error', reject).end(body && JSON.stringify(body))
  })
}

async function forEachService(work: (i: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    for (let i = next++; i < SERVICES; i = next++) await work(i)
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, worker))
}

function residentSet({ fixture }: Server = servers.redis): number {
  const status = readFileSync(`/proc/${fixture.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024
}

it.each(['memory', 'redis'] as const)(
  '10,000 services on %s are kept, pinged 5,000 times a second, and listed in pages',
  async (kind) => {
    const server = servers[kind]
    const pings = Array.from(
      { length: SERVICES },
      (_, i) =>
        `PUT /services/s-${i}/$ping?instance_id=i-${i}&incarnation=x HTTP/1.1\r\nhost: a\r\n\r\n`
    )
    const begun = new Date().toISOString()
    expect(await sendPaced(server.port, pings, PINGS_PER_SECOND)).toEqual({ 200: SERVICES })
    const alive = new Set<string>()
    const overlooked: string[] = []
    let path: string | undefined = '/services?status=alive&limit=1000'
    while (path) {
      const page: Page = JSON.parse((await send(server.port, 'GET', path)).body)
      for (const { id, last_ping_at, instances } of page.services) {
        expect(instances).toHaveLength(1)
        alive.add(id)
        if (last_ping_at < begun) overlooked.push(id)
      }
      path = page.next
    }
    expect(alive.size).toBe(SERVICES)
    expect(overlooked).toEqual([])
    expect((await heapOf(server.fixture)) - server.heapBefore).toBeLessThan(200 * MiB)
    expect(residentSet(server)).toBeLessThan(400 * MiB)
  },
  20_000
)

it('500 event streams, 100 of which never read, cost no memory and hold up nobody', async () => {
  const before = residentSet()
  const stalled: Socket[] = []
  for (let i = 0; i < 100; i++) {
    // Without a listener for data nothing is ever taken from the socket.
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write('GET /services/$events HTTP/1.1\r\nhost: a\r\n\r\n')
    stalled.push(socket)
  }
  const readers = await Promise.all(
    Array.from({ length: 400 }, async () => {
      const socket = connect(port, '127.0.0.1')
      const seen = { last: false }
      let tail = ''
      socket.setEncoding('utf8').on('data', (text: string) => {
        tail = (tail + text).slice(-20_000)
        seen.last ||= tail.includes('"id":"the-last"')
      })
      await once(socket, 'connect')
      socket.write('GET /services/$events HTTP/1.1\r\nhost: a\r\n\r\n')
      return { socket, seen }
    })
  )
  for (let round = 0; round < 500; round++) {
    await call('POST', '/services/$register', { ...BILLING, id: 'changing', info: { round } })
  }
  await register(port, { id: 'the-last' })
  await eventually(() => expect(readers.filter(({ seen }) => seen.last)).toHaveLength(400), {
    deadline: 30_000,
    every: 100
  })
  expect(residentSet() - before).toBeLessThan(250 * MiB)
  for (const { socket } of readers) socket.destroy()
  for (const socket of stalled) socket.destroy()
  const fresh = await eventStream(port)
  await fresh.next('snapshot')
  fresh.connection.destroy()
}, 60_000)

it('200 clients that send a byte now and then hold up nobody', async () => {
  const slow = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => {})
      await once(socket, 'connect')
      socket.write(
        'POST /services/$register HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n'
      )
      return socket
    })
  )
  const drip = setInterval(() => {
    for (const socket of slow) socket.write('x')
  }, 250)
  const start = performance.now()
  for (let i = 0; i < 200; i++) {
    const query = `?instance_id=i-${i}&incarnation=x`
    expect(await call('PUT', `/services/s-${i}/$ping${query}`)).toBe(200)
  }
  expect(performance.now() - start).toBeLessThan(10_000)
  clearInterval(drip)
  for (const socket of slow) socket.destroy()
})
