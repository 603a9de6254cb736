import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { randomUUID } from 'node:crypto'
import { memoryLeases } from '@muster/leases'
import type { Instance, PresenceOptions } from '@muster/presence'
import { dispatcher, type DispatcherOptions } from '@muster/presence/dispatcher'
import { eventually, type Fixture, freePort, startFixture, startRedis } from '@muster/testkit'
import { setTimeout as pause } from 'node:timers/promises'
import * as undici from 'undici'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createService } from './service.ts'

/** A caller, and a way to put instances into its registry. */
async function createCaller(options: DispatcherOptions = {}) {
  const namespace = randomUUID()
  const store = memoryLeases({ namespace, ttl: 60_000 })
  const { app } = await createService({ namespace, store })
  const through = dispatcher(app.presence, 'inference', options)
  onTestFinished(async () => {
    await through.destroy()
  })
  let counter = 0
  const callees = new Map<string, number>()

  async function add(url: string, status: Instance['status'] = 'ready') {
    const key = { service: 'inference', id: `i${counter++}`, incarnation: randomUUID() }
    async function announce(now: Instance['status']) {
      await store.put(key, { status: now, url, metadata: {} })
      await news()
    }
    async function leave() {
      await store.remove(key)
      await news()
    }
    await announce(status)
    return { announce, leave }
  }
  async function serve(listener: RequestListener) {
    const server = createServer((request, response) => {
      callees.set(name, (callees.get(name) ?? 0) + 1)
      listener(request, response)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    const name = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return { name, calls: () => callees.get(name) ?? 0, ...(await add(name)) }
  }
  async function call(options: { method?: undici.Dispatcher.HttpMethod; body?: unknown } = {}) {
    const { statusCode, body } = await undici.request('http://inference/x', {
      dispatcher: through,
      method: options.method ?? 'GET',
      body: (options.body ?? null) as string
    })
    return { status: statusCode, text: await body.text() }
  }
  return { through, add, serve, call, store }
}

const answer =
  (text: string, status = 200): RequestListener =>
  (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => response.writeHead(status).end(text + body))
  }
const refusal =
  (code: string, started: boolean): RequestListener =>
  (request, response) => {
    request.resume().on('end', () => {
      response.writeHead(503).end(JSON.stringify({ statusCode: 503, code, started }))
    })
  }
/** What the store in memory tells has arrived everywhere when the microtasks are done. */
const news = () => new Promise((resolve) => setImmediate(resolve))

describe('dispatcher', () => {
  it('sends requests of fetch and of undici to the instances of the service', async () => {
    const { through, serve, call } = await createCaller()
    const [one, two] = [await serve(answer('one')), await serve(answer('two'))]
    for (let turn = 0; turn < 40; turn++) expect((await call()).status).toBe(200)
    expect(one.calls() + two.calls()).toBe(40)
    expect(Math.min(one.calls(), two.calls())).toBeGreaterThan(5)
    const native = await fetch('http://inference/x?y=1', {
      method: 'POST',
      body: '!',
      dispatcher: through
    } as never)
    expect(await native.text()).toMatch(/^(one|two)!$/)
    const ours = await undici.fetch('http://inference/x', {
      method: 'POST',
      body: '!',
      dispatcher: through
    })
    expect(await ours.text()).toMatch(/^(one|two)!$/)
  })

  it('prefers the less busy of two', async () => {
    const { serve, call } = await createCaller()
    const held: (() => void)[] = []
    const slow = await serve((_, response) => void held.push(() => response.end('slow')))
    const calls = [call()]
    await eventually(() => expect(held).toHaveLength(1))
    const quick = await serve(answer('quick'))
    for (let turn = 0; turn < 20; turn++) expect((await call()).text).toBe('quick')
    expect([slow.calls(), quick.calls()]).toEqual([1, 20])
    for (const release of held) release()
    await Promise.all(calls)
  })

  it('leaves an instance that drains, is suspect or has left at once', async () => {
    const { serve, call } = await createCaller()
    const [one, two] = [await serve(answer('one')), await serve(answer('two'))]
    await call()
    await one.announce('draining')
    for (let turn = 0; turn < 20; turn++) expect((await call()).text).toBe('two')
    await one.announce('unready')
    for (let turn = 0; turn < 20; turn++) expect((await call()).text).toBe('two')
    await one.announce('ready')
    await two.leave()
    for (let turn = 0; turn < 20; turn++) expect((await call()).text).toBe('one')
  })

  it('asks one that drains rather than nobody', async () => {
    const { serve, call } = await createCaller()
    const only = await serve(answer('only'))
    await only.announce('draining')
    expect((await call()).text).toBe('only')
  })

  it('goes elsewhere when the connection is refused, with any method and body', async () => {
    const { serve, add, call } = await createCaller()
    await add(`http://127.0.0.1:${await freePort()}`)
    await serve(answer('got '))
    for (let turn = 0; turn < 10; turn++) {
      expect(await call({ method: 'POST', body: 'text' })).toEqual({
        status: 200,
        text: 'got text'
      })
      const body = stream(['a', 'b'])
      expect(await call({ method: 'POST', body })).toEqual({ status: 200, text: 'got ab' })
    }
  })

  it.each(['MUSTER_ERR_WARMING_UP', 'MUSTER_ERR_UNREADY', 'MUSTER_ERR_SHUTDOWN'])(
    'goes elsewhere, with the same body, after a 503 %s that had not started',
    async (code) => {
      const { serve, call } = await createCaller()
      const refusing = await serve(refusal(code, false))
      await serve(answer('got '))
      for (let turn = 0; turn < 10; turn++) {
        const body = stream(['a', 'b'])
        expect(await call({ method: 'POST', body })).toEqual({ status: 200, text: 'got ab' })
      }
      expect(refusing.calls()).toBeGreaterThan(0)
    }
  )

  it('hands on a 503 of what had started, or said nothing of it; a GET goes elsewhere', async () => {
    for (const refuse of [refusal('MUSTER_ERR_SHUTDOWN', true), answer('busy', 503)]) {
      const { serve, call } = await createCaller()
      const one = await serve(refuse)
      const two = await serve(refuse)
      const { status, text } = await call({ method: 'POST', body: 'x' })
      expect(status).toBe(503)
      expect(text).toMatch(/SHUTDOWN|busy/)
      expect(one.calls() + two.calls()).toBe(1)
      expect((await call()).status).toBe(503)
      expect(one.calls() + two.calls()).toBe(3)
      await serve(answer('fine'))
      expect((await call()).text).toBe('fine')
    }
  })

  it('hands on a 503 whose body is long as it is', async () => {
    const { serve, call } = await createCaller()
    await serve(answer('x'.repeat(100_000), 503))
    expect(await call()).toEqual({ status: 503, text: 'x'.repeat(100_000) })
  })

  it('after a broken connection repeats a GET elsewhere, and never a POST', async () => {
    const { serve, call } = await createCaller()
    const broken = await serve((_, response) => void response.socket?.destroy())
    await expect(call({ method: 'POST', body: 'x' })).rejects.toThrow('other side closed')
    expect(broken.calls()).toBe(1)
    await expect(call()).rejects.toThrow('other side closed')
    await serve(answer('fine'))
    for (let turn = 0; turn < 10; turn++) expect((await call()).text).toBe('fine')
  })

  it('waits a little for an instance, then says that there is none', async () => {
    const { serve, call } = await createCaller({ wait: 300 })
    await expect(call()).rejects.toMatchObject({ code: 'MUSTER_ERR_NO_INSTANCE', statusCode: 503 })
    const waiting = call()
    await serve(answer('there'))
    expect((await waiting).text).toBe('there')
  })

  it('rejects what comes after close(), and wrong options', async () => {
    const { through, call, serve } = await createCaller()
    await serve(answer('x'))
    await call()
    await through.close()
    await expect(call()).rejects.toThrow('destroyed')
    const { app } = await createService({ namespace: randomUUID() } satisfies PresenceOptions)
    expect(() => dispatcher(app.presence, 'x', { wait: -1 })).toThrow(
      expect.objectContaining({ code: 'MUSTER_ERR_OPTION' })
    )
  })
})

describe('a rolling restart of four instances', () => {
  it('fails none of 20,000 requests of 40 loops', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.close())
    const namespace = randomUUID()
    async function start(INSTANCE: string): Promise<Fixture> {
      const env = { INSTANCE, REDIS_URL: redis.url, NAMESPACE: namespace }
      const fixture = startFixture(new URL('fixtures/instance.js', import.meta.url), { env })
      await fixture.waitFor(/ready/)
      return fixture
    }
    const { app } = await createService({ redis: redis.url, namespace })
    const fleet = await Promise.all(['a', 'b', 'c', 'd'].map(start))
    const through = dispatcher(app.presence, 'inference')
    let served = 0
    const failures: string[] = []
    let restarting = true
    async function loop(at: number): Promise<void> {
      for (let turn = 0; restarting || served < 20_000; turn++) {
        const post = (at + turn) % 2 === 0
        try {
          const { statusCode, body } = await undici.request('http://inference/x', {
            dispatcher: through,
            method: post ? 'POST' : 'GET',
            ...(post ? { body: '{"a":1}', headers: { 'content-type': 'application/json' } } : {})
          })
          const text = await body.text()
          if (statusCode !== 200) failures.push(`${statusCode} ${text}`)
        } catch (error) {
          failures.push(String(error))
        }
        served++
      }
    }
    // The contrast: somebody who asked once where the instances are.
    const fixed = (await app.presence.instances('inference')).map(({ url }) => url)
    let failedWithout = 0
    async function loopWithout(): Promise<void> {
      for (let turn = 0; restarting; turn++) {
        const response = await fetch(`${fixed[turn % 4]}/x`).catch(() => undefined)
        if (response?.status !== 200) failedWithout++
        await response?.text()
        await pause(5)
      }
    }
    const without = loopWithout()
    const loops = Array.from({ length: 40 }, (_, at) => loop(at))
    const restarted: Fixture[] = []
    for (const [at, old] of fleet.entries()) {
      await pause(300)
      restarted.push(await start(`new-${at}`))
      old.signal('SIGTERM')
      expect(await old.exited).toEqual({ code: 0, signal: null })
    }
    restarting = false
    await Promise.all([...loops, without])
    await through.close()
    for (const one of restarted) await one.kill()
    expect(failures).toEqual([])
    expect(served).toBeGreaterThanOrEqual(20_000)
    expect(failedWithout).toBeGreaterThan(0)
  }, 90_000)
})

async function* stream(chunks: string[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield Buffer.from(chunk)
}
