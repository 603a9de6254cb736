import { eventually, type Fixture, rawConnection, startFixture } from '@muster/testkit'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import type { NetConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'

const GET = (path: string) => `GET ${path} HTTP/1.1\r\nhost: test\r\n\r\n`

async function start(
  env: Record<string, string> = {}
): Promise<{ fixture: Fixture; port: number }> {
  const fixture = startFixture(new URL('fixtures/sockets.js', import.meta.url), { env })
  onTestFinished(() => fixture.kill())
  const [, where] = await fixture.waitFor(/ready on (\S+)/)
  return { fixture, port: Number(where) }
}

async function ends(fixture: Fixture, code: number): Promise<void> {
  fixture.signal('SIGTERM')
  expect(await fixture.exited, fixture.output).toEqual({ code, signal: null })
  expect(fixture.output).toContain('onClose')
}

/** What is done on a connection before SIGTERM, and whether something had to be cut in the end. */
const situations: [
  string,
  (target: NetConnectOpts, fixture: Fixture) => Promise<unknown>,
  0 | 1
][] = [
  ['never used', (target) => rawConnection(target), 0],
  [
    'keep-alive and idle',
    async (target) => {
      const connection = await rawConnection(target)
      connection.write(GET('/'))
      await connection.response()
    },
    0
  ],
  [
    'keep-alive and busy',
    async (target, fixture) => {
      const connection = await rawConnection(target)
      connection.write(GET('/slow'))
      await fixture.waitFor(/working/)
      return async () => expect((await connection.response()).body).toBe('done')
    },
    0
  ],
  [
    'half a request sent',
    async (target) => {
      const connection = await rawConnection(target)
      connection.write('POST / HTTP/1.1\r\nhost: te')
    },
    0
  ],
  [
    'a stream without an end',
    async (target) => {
      const connection = await rawConnection(target)
      connection.write(GET('/stream'))
      await eventually(() => expect(connection.received).toContain('begun'))
    },
    1
  ]
]

describe('a connection that is', () => {
  it.each(situations)('%s does not hold the close', async (_, prepare, code) => {
    const { fixture, port } = await start()
    const check = await prepare({ port, host: '127.0.0.1' }, fixture)
    await ends(fixture, code)
    if (typeof check === 'function') await check()
  })

  it.each(situations)('%s does not hold it on a unix socket either', async (_, prepare, code) => {
    const directory = await mkdtemp(join(tmpdir(), 'muster-'))
    onTestFinished(() => rm(directory, { recursive: true }))
    const path = join(directory, 'socket')
    const { fixture } = await start({ SOCKET: path })
    const check = await prepare({ path }, fixture)
    await ends(fixture, code)
    if (typeof check === 'function') await check()
  })
})

it('lets a request on the second server of a dual-stack listener end', async () => {
  const { fixture, port } = await start({ KIND: 'dual-stack' })
  const connection = await rawConnection({ port, host: '::1' })
  connection.write(GET('/slow'))
  await fixture.waitFor(/working/)
  await ends(fixture, 0)
  expect((await connection.response()).body).toBe('done')
})

it('lets the streams of HTTP/2 sessions end, and ends idle sessions', async () => {
  const { fixture, port } = await start({ KIND: 'http2' })
  const [busy, idle] = [0, 1].map(() =>
    connectHttp2(`http://127.0.0.1:${port}`).on('error', () => {})
  )
  await eventually(() => expect(idle?.connecting).toBe(false))
  const stream = busy?.request({ ':path': '/slow' }).setEncoding('utf8')
  let body = ''
  stream?.on('data', (chunk: string) => (body += chunk))
  await fixture.waitFor(/working/)
  await ends(fixture, 0)
  await eventually(() => expect(body).toBe('done'))
})

it('is not held by WebSockets', async () => {
  const { fixture, port } = await start({ KIND: 'websocket' })
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`)
  await fixture.waitFor(/open/)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  await ends(fixture, 0)
  // No status received, but a close frame; 1006 would be a broken connection (RFC 6455, 7.4.1).
  expect(await closed).toBe(1005)
})
