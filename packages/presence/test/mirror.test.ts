import { eventually, type RedisServer, startRedis } from '@muster/testkit'
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createService } from './service.ts'

const PREFIX = 'sg:registry:service:'
const KEY = `${PREFIX}billing:one`

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.close())

async function redisCli(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('redis-cli', ['-p', `${server.port}`, ...args])
  return stdout.trim()
}

function options() {
  return { redis: server.url, namespace: randomUUID(), mirror: PREFIX, heartbeat: 300, ttl: 2_500 }
}

describe('the mirror', () => {
  it('is one plain key with the record as JSON that lives for the TTL in whole seconds', async () => {
    const { app, listen } = await createService(
      { ...options(), metadata: { city: 'Köln', quote: '"' } },
      { instanceId: 'one' }
    )
    await listen()
    await eventually(async () => expect(await redisCli('GET', KEY)).toContain('"status":"ready"'))
    const { startedAt } = app.readiness.identity
    const text = await redisCli('GET', KEY)
    expect(JSON.parse(text)).toMatchObject({ startedAt, metadata: { city: 'Köln', quote: '"' } })
    // As a reader of another language has it: not escaped, not wrapped.
    expect(text).toContain('{"city":"Köln","quote":"\\""}')
    expect(await redisCli('TYPE', KEY)).toBe('string')
    expect(['2', '3']).toContain(await redisCli('TTL', KEY))
    await app.close()
    expect(await redisCli('EXISTS', KEY)).toBe('0')
  })

  it('is kept fresh by every beat, also when somebody deleted it, and follows the status', async () => {
    const { app, listen } = await createService(options(), { instanceId: 'one' })
    await listen()
    await eventually(async () => expect(await redisCli('EXISTS', KEY)).toBe('1'))
    await redisCli('DEL', KEY)
    await eventually(async () => expect(await redisCli('GET', KEY)).toContain('"status":"ready"'), {
      deadline: 1_000
    })
    await redisCli('PEXPIRE', KEY, '1000')
    await eventually(async () => expect(Number(await redisCli('PTTL', KEY))).toBeGreaterThan(2_000))
    await app.readiness.drain()
    expect(await redisCli('GET', KEY)).toContain('"status":"draining"')
  })

  it('of a successor is left alone by the leave of its predecessor', async () => {
    const shared = options()
    const older = await createService(shared, { instanceId: 'one' })
    await older.listen()
    await eventually(() => expect(older.app.presence.self.state).toBe('present'))
    const newer = await createService(shared, { instanceId: 'one' })
    await newer.listen()
    await eventually(() => expect(older.app.presence.self.state).toBe('fenced'))
    await older.app.close()
    const { startedAt } = newer.app.readiness.identity
    expect(JSON.parse(await redisCli('GET', KEY))).toMatchObject({ startedAt })
  })

  it('is refused without Redis', async () => {
    await expect(createService({ mirror: PREFIX })).rejects.toMatchObject({
      code: 'MUSTER_ERR_OPTION',
      message: expect.stringContaining('mirror')
    })
  })
})
