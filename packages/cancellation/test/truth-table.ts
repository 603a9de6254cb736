import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http2, { type ServerHttp2Stream } from 'node:http2'
import net, { type AddressInfo, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import tls from 'node:tls'
import websocket from '@fastify/websocket'
import { eventually } from '@muster/testkit'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import cancellation from '../src/index.ts'

const pem = (name: string) => readFileSync(new URL(`./fixtures/tls/${name}.pem`, import.meta.url))
const TLS = { key: pem('key'), cert: pem('cert') }

export const TRANSPORTS = ['http/1.1', 'http/1.1 TLS', 'http/2', 'http/2 TLS'] as const
export type Transport = (typeof TRANSPORTS)[number]

/** When the handler reads its token. */
export const READINGS = ['at once', 'after an await', 'after the fact'] as const
export type Reading = (typeof READINGS)[number]

/** A kind of request: what is sent, and how the handler answers. */
interface Kind {
  method: string
  headers?: Record<string, string>
  body?: Buffer
  /** Sends its first byte before it waits. */
  streams?: boolean
  only?: 'http/1.1'
}

const body = (bytes: number) => Buffer.alloc(bytes, 'x')
const text = { 'content-type': 'text/plain' }

export const KINDS: Record<string, Kind> = {
  GET: { method: 'GET' },
  HEAD: { method: 'HEAD' },
  '204': { method: 'GET' },
  'POST empty': { method: 'POST' },
  'POST 1 KB': { method: 'POST', headers: text, body: body(1_000) },
  'POST 10 MB': { method: 'POST', headers: text, body: body(10_000_000) },
  multipart: {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=b' },
    body: Buffer.from('--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n')
  },
  chunked: {
    method: 'POST',
    headers: { ...text, 'transfer-encoding': 'chunked' },
    body: Buffer.from('3e8\r\n' + 'x'.repeat(1_000) + '\r\n0\r\n\r\n'),
    only: 'http/1.1'
  },
  'Expect: 100-continue': {
    method: 'POST',
    headers: { ...text, expect: '100-continue' },
    body: body(1_000),
    only: 'http/1.1'
  },
  'second on keep-alive': { method: 'POST', headers: text, body: body(1_000) },
  'second in a pipeline': { method: 'POST', headers: text, body: body(1_000), only: 'http/1.1' },
  'streamed reply': { method: 'POST', headers: text, body: body(1_000), streams: true },
  'hijacked reply': { method: 'POST', headers: text, body: body(1_000), streams: true },
  SSE: { method: 'GET', streams: true },
  WebSocket: {
    method: 'GET',
    headers: {
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
    },
    only: 'http/1.1'
  }
}

export const EVENTS = {
  'http/1.1': ['completes', 'client destroys', 'client half-closes', 'proxy drops'],
  'http/2': [
    'completes',
    'RST before headers',
    'RST after headers',
    'session destroyed',
    'proxy drops'
  ]
} as const
export type Event = (typeof EVENTS)['http/1.1' | 'http/2'][number]

export interface Cell {
  kind: string
  event: Event
  reading: Reading
}

/** What the token and Fastify's `request.signal` say when all is over. */
export interface Verdict {
  ours: string
  builtin: string
}

/** The cells that exist on a transport. */
export function cellsOf(transport: Transport): Cell[] {
  const version = transport.startsWith('http/2') ? 'http/2' : 'http/1.1'
  return Object.entries(KINDS)
    .filter(([, { only = version }]) => only === version)
    .flatMap(([kind, { streams = false }]) =>
      EVENTS[version]
        .filter((event) => event !== 'RST after headers' || streams)
        .filter((event) => event !== 'RST before headers' || !streams)
        .flatMap((event) => READINGS.map((reading) => ({ kind, event, reading })))
    )
}

interface Observed {
  request: FastifyRequest
  read(): void
  wasRead: Promise<void>
  verdict(): Verdict
  release(): void
  released: Promise<void>
  over: Promise<unknown>
}

/** A server that answers every kind of request, and remembers what each request's token said. */
export class Table {
  readonly #transport: Transport
  readonly #observed = new Map<string, Observed>()
  #app!: FastifyInstance
  #port = 0
  #cells = 0

  constructor(transport: Transport) {
    this.#transport = transport
  }

  async open(): Promise<void> {
    const http2 = this.#transport.startsWith('http/2')
    const https = this.#transport.endsWith('TLS') ? { https: TLS } : {}
    const options = { http2, ...https, bodyLimit: 20_000_000, forceCloseConnections: true }
    this.#app = fastify(options as object) as FastifyInstance
    await this.#app.register(cancellation)
    if (!http2) await this.#app.register(websocket)
    this.#app.addContentTypeParser('multipart/form-data', (_, payload, done) => {
      payload.resume().on('end', () => done(null))
    })
    const handler = (request: FastifyRequest, reply: FastifyReply) => this.#handle(request, reply)
    this.#app.route({ method: ['POST'], url: '/', handler })
    this.#app.get('/', handler)
    if (!http2) {
      const wsHandler = (socket: Socket, request: FastifyRequest) => this.#upgraded(socket, request)
      this.#app.route({ method: 'GET', url: '/ws', handler, wsHandler } as never)
    }
    await this.#app.listen({ port: 0, host: '127.0.0.1' })
    this.#port = (this.#app.server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    for (const observed of this.#observed.values()) observed.release()
    await this.#app.close()
  }

  /** Lets one cell happen. */
  async verdict({ kind, event, reading }: Cell): Promise<Verdict> {
    const id = `${this.#cells++}`
    const proxy = event === 'proxy drops' ? await openProxy(this.#port) : undefined
    const port = proxy?.port ?? this.#port
    const path = kind === 'WebSocket' ? '/ws' : '/'
    const headers = { ...KINDS[kind]!.headers, 'x-cell': id, 'x-kind': kind, 'x-reading': reading }
    const client = this.#transport.startsWith('http/2')
      ? await openH2(this.#transport, port, kind, path, headers)
      : await openH1(this.#transport, port, kind, path, headers, event === 'completes')
    const observed = await eventually(
      () => {
        const found = this.#observed.get(id)
        if (!found) throw new Error(`${kind} has not arrived`)
        return found
      },
      { every: 1 }
    )
    if (event === 'RST after headers') await client.headers
    if (reading !== 'after the fact') await observed.wasRead
    await pause(5)
    if (event === 'completes') observed.release()
    else if (proxy) proxy.drop()
    else client.leave(event)
    await observed.over
    await pause(20)
    if (reading === 'after the fact') observed.read()
    observed.release()
    client.leave('client destroys')
    proxy?.drop()
    this.#observed.delete(id)
    return observed.verdict()
  }

  async #handle(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const kind = request.headers['x-kind'] as string
    if (request.headers['x-reading'] === undefined) return this.#first(request)
    const released = this.#observe(request)
    if (request.headers['x-reading'] === 'after an await') {
      await pause(10)
      this.#observed.get(request.headers['x-cell'] as string)?.read()
    }
    if (kind === 'streamed reply') {
      const chunks = async function* () {
        yield 'a'
        await released
        yield 'b'
      }
      const { Readable } = await import('node:stream')
      return reply.send(Readable.from(chunks()))
    }
    if (kind === 'hijacked reply' || kind === 'SSE') {
      reply.hijack()
      const type = kind === 'SSE' ? 'text/event-stream' : 'text/plain'
      reply.raw.writeHead(200, { 'content-type': type })
      reply.raw.write('data: 1\n\n')
      await released
      reply.raw.end('data: 2\n\n')
      return reply
    }
    await released
    if (kind === '204') return reply.code(204).send()
    return 'done'
  }

  /** The request before the one that counts: in a pipeline it is held until that has ended. */
  async #first(request: FastifyRequest): Promise<string> {
    if (request.headers['x-hold'] === undefined) return 'first'
    const observed = await eventually(() => {
      const found = this.#observed.get(request.headers['x-hold'] as string)
      if (!found) throw new Error('not yet')
      return found
    })
    await Promise.race([observed.released, observed.over])
    return 'first'
  }

  #upgraded(socket: Socket, request: FastifyRequest): void {
    const released = this.#observe(request)
    if (request.headers['x-reading'] === 'after an await') {
      setTimeout(() => this.#observed.get(request.headers['x-cell'] as string)?.read(), 10)
    }
    void released.then(() => (socket as unknown as { close(): void }).close())
  }

  #observe(request: FastifyRequest): Promise<void> {
    let release = () => {}
    const released = new Promise<void>((resolve) => (release = resolve))
    let builtin: AbortSignal | undefined
    let token: FastifyRequest['cancellation'] | undefined
    let onRead = () => {}
    const wasRead = new Promise<void>((resolve) => (onRead = resolve))
    const read = () => {
      builtin = request.signal
      token = request.cancellation
      void token.signal
      onRead()
    }
    const { socket } = request.raw
    const { stream } = request.raw as unknown as { stream?: ServerHttp2Stream }
    const over = new Promise((resolve) => (stream ?? socket).once('close', resolve))
    this.#observed.set(request.headers['x-cell'] as string, {
      request,
      read,
      wasRead,
      release,
      released,
      over,
      verdict: () => ({
        ours: describe(token?.cancelled, token?.signal.aborted, token?.reason?.kind),
        builtin: builtin?.aborted ? 'aborted' : 'not'
      })
    })
    if (request.headers['x-reading'] === 'at once') read()
    return released
  }
}

function describe(cancelled = false, aborted = false, kind?: string): string {
  if (cancelled !== aborted) return `cancelled ${cancelled}, signal ${aborted}`
  return cancelled ? `cancelled: ${kind}` : 'not'
}

const CLOSE_FRAME = 0x88

interface Client {
  headers: Promise<unknown>
  leave(event: Event): void
}

async function openH1(
  transport: Transport,
  port: number,
  kind: string,
  path: string,
  headers: Record<string, string>,
  last: boolean
): Promise<Client> {
  const secure = transport.endsWith('TLS')
  const socket = secure
    ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    : net.connect({ port, host: '127.0.0.1' })
  await once(socket, secure ? 'secureConnect' : 'connect')
  socket.on('error', () => {})
  socket.on('data', (chunk) => {
    if (kind === 'WebSocket' && chunk[0] === CLOSE_FRAME) socket.end()
  })
  const { method, body = Buffer.alloc(0) } = KINDS[kind]!
  const length = headers['transfer-encoding'] ? {} : { 'content-length': `${body.length}` }
  const all: Record<string, string> = { host: 'x', ...(body.length > 0 ? length : {}), ...headers }
  if (last && kind !== 'WebSocket') all['connection'] = 'close'
  const head = message(method, path, all)
  if (kind === 'second on keep-alive') {
    socket.write(message('GET', '/', { host: 'x', 'x-kind': 'first' }))
    await once(socket, 'data')
  }
  if (kind === 'second in a pipeline') {
    socket.write(
      message('GET', '/', { host: 'x', 'x-kind': 'first', 'x-hold': headers['x-cell']! })
    )
  }
  socket.write(head)
  if (kind === 'Expect: 100-continue') await once(socket, 'data')
  socket.write(body)
  return {
    headers: Promise.resolve(),
    leave: (event) => void (event === 'client half-closes' ? socket.end() : socket.destroy())
  }
}

function message(method: string, path: string, headers: Record<string, string>): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

async function openH2(
  transport: Transport,
  port: number,
  kind: string,
  path: string,
  headers: Record<string, string>
): Promise<Client> {
  const scheme = transport.endsWith('TLS') ? 'https' : 'http'
  const session = http2.connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false })
  session.on('error', () => {})
  const send = (given: Record<string, string>, method: string, data?: Buffer) => {
    const stream = session.request({ ':method': method, ':path': path, ...given })
    stream.on('error', () => {})
    stream.resume()
    stream.end(data)
    return stream
  }
  if (kind === 'second on keep-alive') {
    const first = send({ 'x-kind': 'first' }, 'GET')
    await once(first, 'end')
  }
  const { method, body } = KINDS[kind]!
  const stream = send(headers, method, body)
  return {
    headers: once(stream, 'response').catch(() => {}),
    leave(event) {
      if (event.startsWith('RST')) stream.close(http2.constants.NGHTTP2_CANCEL)
      else session.destroy()
    }
  }
}

/** A TCP proxy for one connection, which can drop it on both sides. */
async function openProxy(target: number): Promise<{ port: number; drop(): void }> {
  const sockets: Socket[] = []
  const server = net.createServer((inbound) => {
    const outbound = net.connect(target, '127.0.0.1')
    sockets.push(inbound, outbound)
    for (const socket of sockets) socket.on('error', () => {})
    inbound.pipe(outbound).pipe(inbound)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    drop() {
      for (const socket of sockets) socket.resetAndDestroy()
      server.close()
    }
  }
}

const SYMBOLS = { right: '✓', wrong: '✗' }

/** A Markdown table: for each kind and event, whether ours and the built-in were right, a sign for each reading. */
export function summary(verdicts: [Cell, Verdict][], expected: (cell: Cell) => string): string {
  const events = [...EVENTS['http/1.1'], ...EVENTS['http/2']].filter(
    (event, i, all) => all.indexOf(event) === i && verdicts.some(([cell]) => cell.event === event)
  )
  const kinds = Object.keys(KINDS).filter((kind) => verdicts.some(([cell]) => cell.kind === kind))
  const signs = (kind: string, event: Event, right: (cell: Cell, verdict: Verdict) => boolean) =>
    READINGS.map((reading) => {
      const found = verdicts.find(
        ([cell]) => cell.kind === kind && cell.event === event && cell.reading === reading
      )
      return found ? SYMBOLS[right(...found) ? 'right' : 'wrong'] : ''
    }).join('')
  const lines = kinds.map((kind) => {
    const columns = events.map((event) => {
      const ours = signs(kind, event, (cell, verdict) => verdict.ours === expected(cell))
      const builtin = signs(
        kind,
        event,
        (cell, verdict) => (verdict.builtin === 'aborted') !== (expected(cell) === 'not')
      )
      return ours === '' ? '' : `${ours} / ${builtin}`
    })
    return `| ${[kind, ...columns].join(' | ')} |`
  })
  const head = `| request | ${events.join(' | ')} |`
  return [head, `|${' --- |'.repeat(events.length + 1)}`, ...lines].join('\n')
}
