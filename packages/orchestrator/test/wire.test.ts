import { randomUUID } from 'node:crypto'
import { type LeaseStore, memoryLeases, redisLeases } from '@muster/leases'
import { rawRequest, type RedisServer, startRedis } from '@muster/testkit'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { BILLING, portOf, send, startOrchestrator } from './raw-client.ts'

let app: FastifyInstance
let redis: RedisServer
let store: LeaseStore

beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.close())

describe.each(['memory', 'redis'])('on %s', (kind) => {
  async function start(): Promise<number> {
    const options = { namespace: randomUUID(), ttl: 30_000 }
    store = kind === 'redis' ? redisLeases({ ...options, redis: redis.url }) : memoryLeases(options)
    const started = await startOrchestrator({ store })
    app = started.app
    return started.port
  }

  afterEach(async () => {
    await app.close()
    await store.close()
  })

  const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

  describe('the wire', () => {
    it('registers, pings, reads and deregisters, field by field', async () => {
      const port = await start()
      const registered = await send(port, 'POST', '/services/$register', { body: BILLING })
      expect(registered.status).toBe(201)
      expect(registered.headers['content-type']).toBe('application/json; charset=utf-8')
      expect(JSON.parse(registered.body)).toEqual({
        id: 'billing',
        status: 'registered',
        service_url: 'http://10.0.0.7:8080',
        message: 'Service registered',
        ttl_seconds: 30,
        ping_url: `http://127.0.0.1:${port}/services/billing/$ping`
      })

      const ping = await send(port, 'PUT', '/services/billing/$ping')
      expect(ping.status).toBe(200)
      const alive = JSON.parse(ping.body)
      expect(alive).toEqual({
        id: 'billing',
        status: 'alive',
        last_ping_at: expect.stringMatching(ISO),
        expires_at: expect.stringMatching(ISO)
      })
      expect(Date.parse(alive.expires_at) - Date.parse(alive.last_ping_at)).toBe(30_000)

      const one = await send(port, 'GET', '/services/billing')
      expect(one.status).toBe(200)
      const times = {
        registered_at: expect.stringMatching(ISO),
        last_updated: expect.stringMatching(ISO),
        last_ping_at: expect.stringMatching(ISO),
        expires_at: expect.stringMatching(ISO)
      }
      const fields = { url: BILLING.url, info: BILLING.info, status: 'alive', ...times }
      const billing = {
        id: 'billing',
        ...fields,
        instances: [{ instance_id: 'billing', ...fields }]
      }
      expect(JSON.parse(one.body)).toEqual(billing)
      const all = await send(port, 'GET', '/services')
      expect(JSON.parse(all.body)).toEqual({ count: 1, services: [billing] })

      const left = await send(port, 'DELETE', '/services/billing')
      expect(left).toMatchObject({ status: 204, body: '' })
      expect((await send(port, 'GET', '/services/billing')).status).toBe(404)
      expect((await send(port, 'DELETE', '/services/billing')).status).toBe(404)
      expect((await send(port, 'PUT', '/services/billing/$ping')).status).toBe(404)
      expect(JSON.parse((await send(port, 'GET', '/services')).body)).toEqual({
        count: 0,
        services: []
      })
    })

    it('says "updated" and 200 to whoever is there already, and keeps when it came', async () => {
      const port = await start()
      await send(port, 'POST', '/services/$register', { body: BILLING })
      const before = JSON.parse((await send(port, 'GET', '/services/billing')).body)
      const same = await send(port, 'POST', '/services/$register', { body: BILLING })
      expect(same.status).toBe(200)
      expect(JSON.parse(same.body).message).toBe('Service registration updated')
      const after = JSON.parse((await send(port, 'GET', '/services/billing')).body)
      expect(after.registered_at).toBe(before.registered_at)
      expect(after.last_updated).toBe(before.last_updated)
    })

    it('says when it came, and when it last said something new, whatever it said before', async () => {
      const port = await start()
      const register = (body: object) => send(port, 'POST', '/services/$register', { body })
      const read = async () => JSON.parse((await send(port, 'GET', '/services/billing')).body)
      await register(BILLING)
      const first = await read()
      await nextMillisecond()
      await register({ ...BILLING, info: { ...BILLING.info, version: '2.0.0' } })
      const changed = await read()
      expect(changed.registered_at).toBe(first.registered_at)
      expect(changed.last_updated > first.last_updated).toBe(true)

      await send(port, 'DELETE', '/services/billing')
      await nextMillisecond()
      const again = await register({ ...BILLING, info: { ...BILLING.info, version: '2.0.0' } })
      expect(again.status).toBe(201)
      const back = await read()
      expect(back.registered_at > first.registered_at).toBe(true)
      expect(back.last_updated).toBe(back.registered_at)
    })

    it('does so too where it was registered through another orchestrator meanwhile', async () => {
      const port = await start()
      const other = await startOrchestrator({ store })
      const changed = { ...BILLING, url: 'http://10.0.0.8:8080' }
      await send(port, 'POST', '/services/$register', { body: BILLING })
      const { registered_at } = JSON.parse((await send(port, 'GET', '/services/billing')).body)
      await send(other.port, 'POST', '/services/$register', { body: changed })
      await nextMillisecond()
      const back = await send(port, 'POST', '/services/$register', { body: BILLING })
      expect(back.status).toBe(200)
      const after = JSON.parse((await send(port, 'GET', '/services/billing')).body)
      expect(after).toMatchObject({ url: BILLING.url, registered_at })
      expect(after.last_updated > registered_at).toBe(true)
      await other.app.close()
    })

    it('takes the id from info where there is none beside it', async () => {
      const port = await start()
      const { url, info } = BILLING
      const registered = await send(port, 'POST', '/services/$register', { body: { url, info } })
      expect(JSON.parse(registered.body).id).toBe('billing')
    })

    it('understands %24 for $', async () => {
      const port = await start()
      expect((await send(port, 'POST', '/services/%24register', { body: BILLING })).status).toBe(
        201
      )
      expect((await send(port, 'PUT', '/services/billing/%24ping')).status).toBe(200)
    })

    it('takes content-type json without a body on ping and delete, where bare Fastify answers 400', async () => {
      const port = await start()
      await send(port, 'POST', '/services/$register', { body: BILLING })
      const headers = 'content-type: application/json\r\n'
      expect((await send(port, 'PUT', '/services/billing/$ping', { headers })).status).toBe(200)
      expect((await send(port, 'DELETE', '/services/billing', { headers })).status).toBe(204)

      const bare = Fastify()
      bare.delete('/x', () => 'deleted')
      await bare.listen({ port: 0, host: '127.0.0.1' })
      const barePort = portOf(bare)
      expect((await send(barePort, 'DELETE', '/x', { headers })).status).toBe(400)
      await bare.close()
    })

    it('answers a relative ping_url to a client that names no host', async () => {
      const port = await start()
      const body = JSON.stringify(BILLING)
      const answer = await rawRequest(
        port,
        `POST /services/$register HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
      )
      expect(JSON.parse(answer.body).ping_url).toBe('/services/billing/$ping')
    })

    it('keeps fields that it does not know', async () => {
      const port = await start()
      const body = { ...BILLING, zone: 'eu-1', weights: [1, 2] }
      await send(port, 'POST', '/services/$register', { body })
      const one = JSON.parse((await send(port, 'GET', '/services/billing')).body)
      expect(one).toMatchObject({ zone: 'eu-1', weights: [1, 2] })
    })

    it('lists in pages', async () => {
      const port = await start()
      for (const id of ['c', 'a', 'e', 'b', 'd']) {
        await send(port, 'POST', '/services/$register', { body: { ...BILLING, id } })
      }
      const ids: string[] = []
      let path: string | undefined = '/services?limit=2&status=alive'
      while (path) {
        const page = JSON.parse((await send(port, 'GET', path)).body)
        expect(page.count).toBeLessThanOrEqual(2)
        ids.push(...page.services.map(({ id }: { id: string }) => id))
        path = page.next
      }
      expect(ids).toEqual(['a', 'b', 'c', 'd', 'e'])
      const suspects = await send(port, 'GET', '/services?status=suspect')
      expect(JSON.parse(suspects.body).count).toBe(0)
    })
  })

  describe('instances', () => {
    const replica = (instance_id: string, incarnation: string) => ({
      ...BILLING,
      url: `http://${instance_id}:8080`,
      instance_id,
      incarnation
    })

    it('keeps replicas of one service apart, and the answered ping_url says whose ping it is', async () => {
      const port = await start()
      const one = await send(port, 'POST', '/services/$register', { body: replica('r1', 'i1') })
      expect(JSON.parse(one.body)).toMatchObject({
        id: 'billing',
        instance_id: 'r1',
        ping_url: `http://127.0.0.1:${port}/services/billing/$ping?instance_id=r1&incarnation=i1`
      })
      await send(port, 'POST', '/services/$register', { body: replica('r2', 'i2') })
      const both = JSON.parse((await send(port, 'GET', '/services/billing')).body)
      expect(both.instances.map((each: { url: string }) => each.url).toSorted()).toEqual([
        'http://r1:8080',
        'http://r2:8080'
      ])
      const left = await send(port, 'DELETE', '/services/billing?instance_id=r1&incarnation=i1')
      expect(left.status).toBe(204)
      const rest = JSON.parse((await send(port, 'GET', '/services/billing')).body)
      expect(rest).toMatchObject({ url: 'http://r2:8080', instances: [{ instance_id: 'r2' }] })
    })

    it('fences off the predecessor of an instance: 409 to its ping and its delete', async () => {
      const port = await start()
      await send(port, 'POST', '/services/$register', { body: replica('r1', 'old') })
      await send(port, 'POST', '/services/$register', { body: replica('r1', 'new') })
      const query = '?instance_id=r1&incarnation=old'
      const ping = await send(port, 'PUT', `/services/billing/$ping${query}`)
      expect(ping.status).toBe(409)
      expect(JSON.parse(ping.body)).toMatchObject({ code: 'MUSTER_ERR_FENCED' })
      expect((await send(port, 'DELETE', `/services/billing${query}`)).status).toBe(409)
      const headers = 'x-muster-instance: r1\r\nx-muster-incarnation: new\r\n'
      expect((await send(port, 'PUT', '/services/billing/$ping', { headers })).status).toBe(200)
      expect((await send(port, 'DELETE', '/services/billing', { headers })).status).toBe(204)
    })

    it('never lets a late ping bring back who has left', async () => {
      const port = await start()
      for (let round = 0; round < 100; round++) {
        await send(port, 'POST', '/services/$register', { body: replica('r1', 'i1') })
        const query = '?instance_id=r1&incarnation=i1'
        await Promise.all([
          send(port, 'PUT', `/services/billing/$ping${query}`),
          send(port, 'DELETE', `/services/billing${query}`),
          send(port, 'PUT', `/services/billing/$ping${query}`)
        ])
        expect((await send(port, 'GET', '/services/billing')).status).toBe(404)
      }
    })
  })
})

/** Times are told in ms. */
async function nextMillisecond(): Promise<void> {
  const now = Date.now()
  while (Date.now() <= now) await new Promise(setImmediate)
}
