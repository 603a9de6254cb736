import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { eventually, rawConnection, rawRequest } from '@muster/testkit'
import fastify, { type FastifyRequest } from 'fastify'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import cancellation from '../src/index.ts'
import { listen } from './listen.ts'

const GET = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'

let app = fastify()
let upstream = createServer()
let url = ''
let asked: IncomingHttpHeaders[] = []
let left = 0

beforeEach(async () => {
  asked = []
  left = 0
  upstream = createServer((request, response) => {
    asked.push(request.headers)
    if (request.url === '/deaf') response.on('close', () => left++)
    else response.end('hello')
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  url = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
})

afterEach(async () => {
  await app.close()
  upstream.closeAllConnections()
  upstream.close()
})

async function start(handler: (request: FastifyRequest) => unknown, deadline?: number) {
  app = fastify()
  await app.register(cancellation)
  app.get('/', { config: { cancellation: { deadline } } }, handler)
  return listen(app)
}

describe('app.cancellation.fetch()', () => {
  test('sends the remaining time and keeps the headers of the caller', async () => {
    const port = await start(async (request) => {
      const headers = { 'x-mine': 'yes' }
      return (await app.cancellation.fetch(request, url, { headers })).text()
    }, 9_000)
    expect((await rawRequest(port, GET)).body).toBe('hello')
    expect(asked).toMatchObject([{ 'x-mine': 'yes' }])
    expect(Number(asked[0]?.['x-request-timeout-ms'])).toBeGreaterThan(8_000)
    expect(Number(asked[0]?.['x-request-timeout-ms'])).toBeLessThanOrEqual(9_000)
  })

  test('sends no time where there is no deadline', async () => {
    const port = await start(async (request) =>
      (await app.cancellation.fetch(request, new Request(url, { headers: { a: 'b' } }))).text()
    )
    expect((await rawRequest(port, GET)).body).toBe('hello')
    expect(asked[0]).toMatchObject({ a: 'b' })
    expect(asked[0]).not.toHaveProperty('x-request-timeout-ms')
  })

  test('leaves the upstream when the client leaves', async () => {
    const port = await start((request) => app.cancellation.fetch(request, `${url}/deaf`))
    const connection = await rawConnection(port)
    connection.write(GET)
    await eventually(() => expect(asked.length).toBe(1))
    connection.destroy()
    await eventually(() => expect(left).toBe(1))
  })

  test("stops for the caller's own signal too, which is no cancellation", async () => {
    const port = await start(async (request) => {
      const signal = AbortSignal.timeout(60)
      await app.cancellation.fetch(request, `${url}/deaf`, { signal })
    })
    expect((await rawRequest(port, GET)).status).toBe(500)
    await eventually(() => expect(left).toBe(1))
  })
})
