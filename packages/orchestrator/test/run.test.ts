import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { eventually, freePort, rawConnection } from '@muster/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import type { OrchestratorOptions } from '../src/index.ts'
import { register, send, startOrchestrator } from './raw-client.ts'

let app: FastifyInstance
let port: number
const servers: Server[] = []

async function start(options: OrchestratorOptions = {}): Promise<void> {
  const started = await startOrchestrator(options)
  app = started.app
  port = started.port
}

/** An instance of a service; shows the requests that reached it. */
async function instance(listener: RequestListener = (_, response) => void response.end('ok')) {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    listener(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  servers.push(server)
  return { requests, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

afterEach(async () => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
  await app.close()
})

describe('GET and HEAD run/*', () => {
  it('reach the instance with path and query as they came, and come back streamed', async () => {
    await start()
    const { url, requests } = await instance((_, response) => {
      response.writeHead(206, { 'x-answer': 'yes', 'content-type': 'text/csv' })
      response.write('a,b\n')
      setImmediate(() => response.end('1,2\n'))
    })
    await register(port, { url: `${url}/base/` })
    const answer = await send(port, 'GET', '/services/billing/run/api/v1/x%20y/%2f?q=a%26b&q=c', {
      headers: 'accept-language: de\r\n'
    })
    expect(answer).toMatchObject({ status: 206, body: 'a,b\n1,2\n' })
    expect(answer.headers).toMatchObject({ 'x-answer': 'yes', 'content-type': 'text/csv' })
    expect(requests[0]?.url).toBe('/base/api/v1/x%20y/%2f?q=a%26b&q=c')
    expect(requests[0]?.headers).toMatchObject({
      host: new URL(url).host,
      'accept-language': 'de',
      via: '1.1 muster-orchestrator',
      'x-forwarded-host': `127.0.0.1:${port}`
    })
    const head = await rawConnection(port)
    head.write('HEAD /services/billing/run/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
    await once(head.socket, 'close')
    expect(head.received).toMatch(/^HTTP\/1.1 206 /)
    expect(head.received).not.toMatch(/a,b/)
    expect(requests[1]?.method).toBe('HEAD')
  })

  it('forward neither the key nor cookies nor what is for one hop', async () => {
    await start({ key: 'service-key', readKey: 'reader' })
    const { url, requests } = await instance((_, response) => {
      response.setHeader('set-cookie', 'session=theirs')
      response.setHeader('connection', 'x-hop')
      response.setHeader('x-hop', '1')
      response.end('<script>alert(1)</script>')
    })
    const body = { id: 'billing', url, info: {} }
    const headers = 'x-service-key: service-key\r\n'
    await send(port, 'POST', '/services/$register', { body, headers })
    const read = 'authorization: Bearer reader\r\ncookie: session=ours\r\nte: trailers\r\n'
    const answer = await send(port, 'GET', '/services/billing/run/x', {
      headers: `${read}connection: x-mine\r\nx-mine: 1\r\nx-else: 2\r\n`
    })
    expect(answer.status).toBe(200)
    const seen = requests[0]?.headers ?? {}
    for (const name of ['x-service-key', 'authorization', 'cookie', 'te', 'x-mine']) {
      expect(seen).not.toHaveProperty(name)
    }
    expect(seen).toHaveProperty('x-else')
    expect(answer.headers).not.toHaveProperty('set-cookie')
    expect(answer.headers).not.toHaveProperty('x-hop')
    expect(answer.headers['content-security-policy']).toBe('sandbox')

    const own = `x-service-key: reader\r\nauthorization: Bearer for-the-service\r\n`
    await send(port, 'GET', '/services/billing/run/x', { headers: own })
    expect(requests[1]?.headers['authorization']).toBe('Bearer for-the-service')
    expect(requests[1]?.headers).not.toHaveProperty('x-service-key')
  })

  it('try another instance when one refuses, resets or drains', async () => {
    await start()
    const closed = `http://127.0.0.1:${await freePort()}`
    const draining = await instance((_, response) => void response.writeHead(503).end('draining'))
    const resets = await instance((request) => void request.socket.destroy())
    const good = await instance()
    for (const [instance_id, url] of Object.entries({
      closed,
      draining: draining.url,
      resets: resets.url,
      good: good.url
    })) {
      await register(port, { instance_id, url })
    }
    for (let i = 0; i < 20; i++) {
      expect(await send(port, 'GET', '/services/billing/run/x')).toMatchObject({
        status: 200,
        body: 'ok'
      })
    }
    expect(good.requests).toHaveLength(20)
    expect(draining.requests.length).toBeGreaterThan(0)
  })

  it('spread over the instances', async () => {
    await start()
    const one = await instance()
    const other = await instance()
    await register(port, { instance_id: 'one', url: one.url })
    await register(port, { instance_id: 'other', url: other.url })
    for (let i = 0; i < 40; i++) await send(port, 'GET', '/services/billing/run/x')
    expect(one.requests.length).toBeGreaterThan(4)
    expect(other.requests.length).toBeGreaterThan(4)
  })

  it('are answered 404, 405, 502, 503 and 504 for what is the matter', async () => {
    await start({ proxy: { timeout: 200 } })
    expect((await send(port, 'GET', '/services/billing/run/x')).status).toBe(404)
    await register(port, { url: `http://127.0.0.1:${await freePort()}` })
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      const answer = await send(port, method, '/services/billing/run/x')
      expect(answer).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } })
    }
    const unreachable = await send(port, 'GET', '/services/billing/run/x')
    expect(unreachable.status).toBe(502)
    expect(JSON.parse(unreachable.body)).toMatchObject({ code: 'MUSTER_ERR_UNREACHABLE' })
    const { url } = await instance(() => {})
    await register(port, { url })
    expect((await send(port, 'GET', '/services/billing/run/x')).status).toBe(504)
    const draining = await instance((_, response) => void response.writeHead(503).end('draining'))
    await register(port, { url: draining.url })
    expect(await send(port, 'GET', '/services/billing/run/x')).toMatchObject({
      status: 503,
      body: 'draining'
    })
  })

  it('give up on the instance when the client has gone', async () => {
    await start()
    const { url, requests } = await instance(() => {})
    await register(port, { url })
    const client = await rawConnection(port)
    client.write('GET /services/billing/run/x HTTP/1.1\r\nhost: a\r\n\r\n')
    await eventually(() => expect(requests).toHaveLength(1))
    expect(requests[0]?.socket.destroyed).toBe(false)
    client.destroy()
    await eventually(() => expect(requests[0]?.socket.destroyed).toBe(true))
  })

  it('are off where "proxy" is false', async () => {
    await start({ proxy: false })
    const { url, requests } = await instance()
    await register(port, { url })
    expect((await send(port, 'GET', '/services/billing/run/x')).status).toBe(404)
    expect(requests).toEqual([])
  })
})

describe('nothing but what was registered is reached', () => {
  it.each([
    '/services/billing/run/../../../admin',
    '/services/billing/run/..%2f..%2fadmin',
    '/services/billing/run/%2e%2e/admin',
    '/services/billing/run/a/%2E%2E%5cadmin',
    '/services/billing/run/..\\admin',
    '/services/billing/run/%',
    '/services/billing/run/x/./y'
  ])('%s is no way out', async (path) => {
    await start()
    const { url, requests } = await instance()
    await register(port, { url: `${url}/tenants/7` })
    const answer = await send(port, 'GET', path)
    expect([400, 404]).toContain(answer.status)
    expect(requests).toEqual([])
  })

  it.each(['//127.0.0.1:1/x', '/@127.0.0.1:1/x', '/http://127.0.0.1:1/', '/%2f%2fevil.example/'])(
    'run%s stays with the instance',
    async (path) => {
      await start()
      const { url, requests } = await instance()
      await register(port, { url })
      expect((await send(port, 'GET', `/services/billing/run${path}`)).status).toBe(200)
      expect(requests[0]?.url).toBe(path)
    }
  )

  it('a redirect is handed on, not followed', async () => {
    await start()
    const elsewhere = await instance()
    const { url } = await instance((_, response) => {
      response.writeHead(302, { location: elsewhere.url }).end()
    })
    await register(port, { url })
    const answer = await send(port, 'GET', '/services/billing/run/x')
    expect(answer).toMatchObject({ status: 302, headers: { location: elsewhere.url } })
    expect(elsewhere.requests).toEqual([])
  })

  it.each([
    'http://169.254.169.254/latest',
    'http://2852039166/latest',
    'http://[fe80::1]/',
    'http://[::ffff:169.254.169.254]/'
  ])('%s is no address of a service', async (url) => {
    await start({ proxy: { timeout: 1_000 } })
    await register(port, { url })
    const answer = await send(port, 'GET', '/services/billing/run/x')
    expect(answer.status).toBe(502)
    expect(JSON.parse(answer.body).detail).toMatch(/no address of a service/)
  })

  it('an orchestrator registered with itself does not go round in circles', async () => {
    await start()
    await register(port, { url: `http://127.0.0.1:${port}/services/billing/run` })
    expect((await send(port, 'GET', '/services/billing/run/x')).status).toBe(508)
  })
})
