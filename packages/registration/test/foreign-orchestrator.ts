import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { eventually } from '@muster/testkit'

/** A request as it came over the wire. */
export interface Received {
  method: string
  path: string
  /** Names in lower case. */
  headers: Record<string, string>
  body: string
  /** All of it. */
  bytes: string
  at: number
}

export interface ForeignOrchestrator {
  readonly port: number
  readonly url: string
  readonly received: Received[]
  /** The requests with this method, once there are `count` of them. */
  requests(method: string, count?: number, deadline?: number): Promise<Received[]>
  /** What it answers from now on; `undefined`: the default for that method. */
  answer(reply: Reply): void
  close(): Promise<void>
}

/** Bytes to answer with, or what to do with the socket. */
export type Reply = (
  request: Received,
  socket: Socket
) => string | Buffer | undefined | void | Promise<string | undefined | void>

export const silence = (): string => ''

export function respond(status: number, body: unknown = '', headers = ''): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return `HTTP/1.1 ${status} X\r\ncontent-length: ${Buffer.byteLength(text)}\r\n${headers}\r\n${text}`
}

/** A server of the registration protocol on bare sockets: nothing of Muster or Fastify in it. */
export async function foreignOrchestrator(
  options: { port?: number; host?: string; tls?: TlsOptions } = {}
): Promise<ForeignOrchestrator> {
  const received: Received[] = []
  const sockets = new Set<Socket>()
  let reply: Reply = () => undefined

  const server: Server = options.tls ? createTlsServer(options.tls, serve) : createServer(serve)
  server.listen(options.port ?? 0, options.host ?? '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  function serve(socket: Socket): void {
    let bytes = ''
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      bytes += chunk
      const request = parse(bytes)
      if (!request) return
      bytes = ''
      received.push(request)
      void respondTo(request, socket)
    })
  }

  async function respondTo(request: Received, socket: Socket): Promise<void> {
    const answer = (await reply(request, socket)) ?? defaultReply(request)
    if (answer !== '') socket.write(answer)
  }

  function defaultReply({ method, body }: Received): string {
    if (method === 'PUT') return respond(200, { status: 'alive' })
    if (method === 'DELETE') return respond(204)
    const { id } = JSON.parse(body)
    return respond(200, {
      id,
      status: 'registered',
      message: 'Service registered successfully',
      ttl_seconds: 30,
      ping_url: `http://127.0.0.1:${port}/v2/services/${id}/$ping`
    })
  }

  const host = options.host?.includes(':') ? `[${options.host}]` : '127.0.0.1'
  return {
    port,
    url: `${options.tls ? 'https' : 'http'}://${host}:${port}/v2/services/$register`,
    received,
    answer: (next) => void (reply = next),
    requests(method, count = 1, deadline = 10_000) {
      return eventually(
        () => {
          const found = received.filter((request) => request.method === method)
          if (found.length < count) throw new Error(`${found.length} of ${count} ${method}`)
          return found
        },
        { deadline }
      )
    },
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    }
  }
}

function parse(bytes: string): Received | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [requestLine = '', ...lines] = bytes.slice(0, end).split('\r\n')
  const [method = '', path = ''] = requestLine.split(' ')
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
  )
  const body = bytes.slice(end + 4)
  if (Buffer.byteLength(body) < Number(headers['content-length'] ?? 0)) return undefined
  return { method, path, headers, body, bytes, at: performance.now() }
}
