import { eventually, type RedisServer, startRedis } from '@muster/testkit'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Instance, PresenceOptions } from '@muster/presence'
import { createService, type Service } from './service.ts'

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.close())

async function present(options: PresenceOptions): Promise<Service> {
  const service = await createService({ redis: server.url, heartbeat: 200, ttl: 2_000, ...options })
  await service.listen()
  await eventually(() =>
    expect(service.app.presence.self).toMatchObject({ state: 'present', status: 'ready' })
  )
  return service
}

async function find(from: Service, { app }: Service): Promise<Instance> {
  const { instanceId } = app.presence.self
  return eventually(async () => {
    const found = (await from.app.presence.instances('billing')).find(
      (instance) => instance.instanceId === instanceId
    )
    if (!found) throw new Error('not there yet')
    return found
  })
}

describe('a request through the registry', () => {
  it('drains an instance that accepts it, and no other', async () => {
    const namespace = randomUUID()
    const asked = await present({ namespace, requests: { drain: true } })
    const other = await present({ namespace, requests: { drain: true } })
    const instance = await find(other, asked)
    expect(instance.accepts).toEqual(['drain'])
    await other.app.presence.request(instance, 'drain')
    await eventually(async () => {
      expect(await find(other, asked)).toMatchObject({ ready: false, terminating: true })
    })
    expect(asked.app.readiness).toMatchObject({
      state: 'draining',
      cause: expect.stringContaining('registry')
    })
    expect(other.app.readiness.state).toBe('ready')
    expect(await other.app.presence.services()).toEqual(['billing'])
    expect(await other.app.presence.instances('~requests').catch(() => [])).toEqual([])
  })

  it('calls the function that was given instead, once', async () => {
    let asked = 0
    const service = await present({ namespace: randomUUID(), requests: { drain: () => asked++ } })
    await service.app.presence.request(await find(service, service), 'drain')
    await eventually(() => expect(asked).toBe(1))
    await service.app.presence.request(await find(service, service), 'drain')
    await eventually(() => expect(asked).toBe(2))
    expect(service.app.readiness.state).toBe('ready')
  })

  it('is refused for an instance that does not accept it, or is not there any more', async () => {
    const namespace = randomUUID()
    const closed = await present({ namespace })
    const asking = await present({ namespace, requests: { drain: true } })
    const refused = { code: 'MUSTER_ERR_REQUEST_NOT_ACCEPTED' }
    const instance = await find(asking, closed)
    await expect(asking.app.presence.request(instance, 'drain')).rejects.toMatchObject(refused)
    const self = await find(asking, asking)
    const before = { ...self, incarnation: 'a-start-before' }
    await expect(asking.app.presence.request(before, 'drain')).rejects.toMatchObject(refused)
  })
})
