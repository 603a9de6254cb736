import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import {
  eventually,
  type Fixture,
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
const agent = new Agent({ keepAlive: true, maxSockets: 32 })
interface Page {
  services: { instances: unknown[] }[]
  next?: string
}

let redis: RedisServer
let server: Fixture
let port: number

beforeAll(async () => {
  redis = await startRedis()
  server = startFixture(new URL('../bin/muster-orchestrator.js', import.meta.url), {
    args: ['--port', '0', '--redis', redis.url, '--ttl', '120000', '--log-level', 'info']
  })
  const [, found] = await server.waitFor(/Server listening at http:\/\/127.0.0.1:(\d+)/)
  await server.waitFor(/"state":"ready"/)
  port = Number(found)
  await forEachService(async (i) => {
    const member = { id: `s-${i}`, instance_id: `i-${i}`, incarnation: 'x' }
    await call('POST', '/services/$register', { ...BILLING, ...member })
  })
}, 60_000)

afterAll(async () => {
  agent.destroy()
  await server.kill()
  await redis.close()
})

function call(method: string, path: string, body?: object): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = body ? { 'content-type': 'application/json' } : {}
    const outgoing = request(
      { port, host: '127.0.0.1', method, path, agent, headers },
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
  await Promise.all(Array.from({ length: 32 }, worker))
}

function residentSet(): number {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024
}

it('10,000 services are kept, pinged 5,000 times a second, and listed in pages', async () => {
  // Each is sent when it is due, whether others have been answered or not.
  const pings: Promise<number>[] = []
  const begun = performance.now()
  while (pings.length < SERVICES) {
    const due = ((performance.now() - begun) / 1_000) * PINGS_PER_SECOND
    for (let i = pings.length; i < Math.min(due, SERVICES); i++) {
      pings.push(call('PUT', `/services/s-${i}/$ping?instance_id=i-${i}&incarnation=x`))
    }
    await new Promise(setImmediate)
  }
  expect((await Promise.all(pings)).filter((status) => status !== 200)).toEqual([])
  let listed = 0
  let path: string | undefined = '/services?limit=1000'
  while (path) {
    const page: Page = JSON.parse((await send(port, 'GET', path)).body)
    for (const { instances } of page.services) listed += instances.length
    path = page.next
  }
  expect(listed).toBe(SERVICES)
  expect(residentSet()).toBeLessThan(400 * MiB)
}, 60_000)

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
