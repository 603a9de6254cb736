import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  eventually,
  type Fixture,
  freePort,
  type RedisServer,
  startFixture,
  startRedis
} from '@muster/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import manifest from '../package.json' with { type: 'json' }
import { eventStream } from './event-stream.ts'
import { BILLING, register, send } from './raw-client.ts'

const script = new URL('../bin/muster-orchestrator.js', import.meta.url)
const running: Fixture[] = []

function run(...args: string[]): Fixture {
  const fixture = startFixture(script, { args })
  running.push(fixture)
  return fixture
}

/** Runs it on a free port until it is ready. */
async function serve(...args: string[]): Promise<Fixture & { port: number }> {
  const fixture = run('--port', '0', ...args)
  const [, port] = await fixture.waitFor(/Server listening at http:\/\/127.0.0.1:(\d+)/)
  await fixture.waitFor(/"state":"ready"/)
  return Object.assign(fixture, { port: Number(port) })
}

afterEach(async () => {
  await Promise.all(running.splice(0).map((fixture) => fixture.kill()))
})

describe('called', () => {
  it('with --help or --version it prints and exits with 0', async () => {
    const help = run('--help')
    expect(await help.exited).toEqual({ code: 0, signal: null })
    for (const option of ['--port', '--redis', '--key-file', '--ttl']) {
      expect(help.output).toContain(option)
    }
    const version = run('--version')
    expect(await version.exited).toEqual({ code: 0, signal: null })
    expect(version.output).toBe(`${manifest.version}\n`)
  })

  it.each([
    [['--nope'], /--nope/],
    [['--port', '99999'], /--port: expected a whole number from 0 to 65535, not 99999/],
    [['--ttl', '1'], /--ttl: expected a whole number from 1000/],
    [['--key-file', '/nowhere'], /--key-file: ENOENT/],
    [['--key-file', '/dev/null'], /--key-file: there is no key in/],
    [['--redis', 'orchestrator'], /option "redis"/],
    [['--prefix', 'services'], /option "prefix"/],
    [['--log-level', 'loud'], /--log-level: expected one of/]
  ])('wrongly, as with %j, it says so and exits with 2', async (args, message) => {
    const fixture = run(...args)
    expect(await fixture.exited).toEqual({ code: 2, signal: null })
    expect(fixture.output).toMatch(/muster-orchestrator: /)
    expect(fixture.output).toMatch(message)
    expect(fixture.output).not.toMatch(/\n {4}at /)
  })

  it('where the port is taken it exits with 1', async () => {
    const { port } = await serve()
    const second = run('--port', `${port}`)
    expect(await second.exited).toEqual({ code: 1, signal: null })
    expect(second.output).toMatch(/EADDRINUSE/)
  })
})

it('serves until SIGTERM, ends its streams and exits with 0', async () => {
  const fixture = await serve('--ttl', '5000')
  const registered = await register(fixture.port)
  expect(JSON.parse(registered.body)).toMatchObject({ id: 'billing', ttl_seconds: 5 })
  expect((await send(fixture.port, 'GET', '/readyz')).status).toBe(200)
  const stream = await eventStream(fixture.port)
  await stream.next('snapshot')
  const start = performance.now()
  fixture.signal('SIGTERM')
  expect(await fixture.exited).toEqual({ code: 0, signal: null })
  expect(performance.now() - start).toBeLessThan(2_000)
  await stream.next('shutdown')
  for (const line of fixture.output.trim().split('\n'))
    expect(JSON.parse(line)).toHaveProperty('time')
  expect(fixture.output).toMatch(/"service":"billing".*"joined"/)
})

it('takes its keys from a file, one a line', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'muster-keys-'))
  const path = join(dir, 'keys')
  await writeFile(path, '# rotating\nold-key\n\n  new-key\n')
  const { port, output } = await serve('--key-file', path)
  expect(output).not.toMatch(/-key"|old-key|new-key/)
  expect((await register(port)).status).toBe(401)
  for (const key of ['old-key', 'new-key']) {
    const headers = `x-service-key: ${key}\r\n`
    const answer = await send(port, 'POST', '/services/$register', { body: BILLING, headers })
    expect(answer.status).toBeLessThan(300)
  }
  await rm(dir, { recursive: true })
})

describe('on Redis', () => {
  let redis: RedisServer

  beforeEach(async () => {
    redis = await startRedis()
  })
  afterEach(() => redis.close())

  it(
    'two orchestrators share the services; one is killed, and nobody notices',
    { timeout: 30_000 },
    async () => {
      const [one, other] = await Promise.all([
        serve('--redis', redis.url, '--ttl', '2000'),
        serve('--redis', redis.url, '--ttl', '2000')
      ])
      const stream = await eventStream(other.port)
      await stream.next('snapshot')
      const answer = await register(one.port, { instance_id: 'r1', incarnation: 'i1' })
      const { pathname, search } = new URL(JSON.parse(answer.body).ping_url)
      expect((await stream.next('joined')).data).toMatchObject({ id: 'billing', instance_id: 'r1' })
      await one.kill()
      const end = performance.now() + 2_500
      while (performance.now() < end) {
        expect((await send(other.port, 'PUT', pathname + search)).status).toBe(200)
        expect((await send(other.port, 'GET', '/services/billing')).status).toBe(200)
        await pause(100)
      }
      const restarted = await serve('--redis', redis.url, '--ttl', '2000')
      expect((await send(restarted.port, 'GET', '/services/billing')).status).toBe(200)
      expect((await stream.next('expired')).data).toMatchObject({ instance_id: 'r1' })
    }
  )

  it('waits for a Redis that is not there, answers 503 while it is away, and goes on', async () => {
    const port = await freePort()
    const fixture = run('--port', '0', '--redis', `redis://127.0.0.1:${port}`)
    const [, own] = await fixture.waitFor(/Server listening at http:\/\/127.0.0.1:(\d+)/)
    expect((await register(Number(own))).status).toBe(503)
    fixture.signal('SIGTERM')
    expect(await fixture.exited).toEqual({ code: 0, signal: null })

    const second = await serve('--redis', redis.url)
    await register(second.port)
    await redis.kill()
    const away = await send(second.port, 'GET', '/services/billing')
    expect(away).toMatchObject({ status: 503, headers: { 'retry-after': expect.any(String) } })
    expect(JSON.parse(away.body)).toMatchObject({
      status: 503,
      code: expect.stringMatching(/^MUSTER_ERR_/)
    })
    await redis.restart({ empty: true })
    await eventually(async () => expect((await register(second.port)).status).toBe(201))
  })
})
