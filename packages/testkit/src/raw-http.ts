import { once } from 'node:events'
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { eventually } from './eventually.ts'

export interface RawResponse {
  status: number
  /** Header names in lower case; repeated ones joined by a comma. */
  headers: Record<string, string>
  body: string
}

export interface RawConnection {
  readonly socket: Socket
  /** What has arrived and was not consumed by `response()`. */
  readonly received: string
  readonly closed: boolean
  write(text: string | Buffer): void
  /** The next response, by content-length, chunks, or end of connection. */
  response(deadline?: number): Promise<RawResponse>
  /** Closes both ways at once. */
  destroy(): void
}

/** Opens a connection that shows and sends bytes, without a client's opinions. */
export async function rawConnection(target: number | NetConnectOpts): Promise<RawConnection> {
  const socket = connect(typeof target === 'number' ? { port: target, host: '127.0.0.1' } : target)
  let received = Buffer.alloc(0)
  let closed = false
  socket.on('data', (chunk) => (received = Buffer.concat([received, chunk])))
  socket.on('close', () => (closed = true))
  await once(socket, 'connect')
  socket.on('error', () => {})

  return {
    socket,
    get received() {
      return received.toString('latin1')
    },
    get closed() {
      return closed
    },
    write: (text) => void socket.write(text),
    destroy: () => void socket.destroy(),
    response(deadline = 10_000) {
      return eventually(
        () => {
          const parsed = parse(received, closed)
          if (!parsed) throw new Error(`no complete response in: ${received.toString('latin1')}`)
          received = received.subarray(parsed.length)
          return parsed.response
        },
        { deadline, every: 2 }
      )
    }
  }
}

/** Sends one request as written on a connection of its own and returns the answer. */
export async function rawRequest(
  target: number | NetConnectOpts,
  text: string | Buffer
): Promise<RawResponse> {
  const connection = await rawConnection(target)
  connection.write(text)
  try {
    return await connection.response()
  } finally {
    connection.destroy()
  }
}

function parse(
  data: Buffer,
  closed: boolean
): { response: RawResponse; length: number } | undefined {
  const headEnd = data.indexOf('\r\n\r\n')
  if (headEnd < 0) return undefined
  const [statusLine = '', ...lines] = data.toString('latin1', 0, headEnd).split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value
  }
  const status = Number(statusLine.split(' ')[1])
  const start = headEnd + 4
  const body =
    status === 204 || status === 304
      ? { text: '', end: start }
      : readBody(data, start, headers, closed)
  if (!body) return undefined
  return { response: { status, headers, body: body.text }, length: body.end }
}

function readBody(data: Buffer, start: number, headers: Record<string, string>, closed: boolean) {
  if (headers['content-length'] !== undefined) {
    const end = start + Number(headers['content-length'])
    return data.length < end ? undefined : { text: data.toString('utf8', start, end), end }
  }
  if (headers['transfer-encoding'] === 'chunked') {
    const parts: Buffer[] = []
    for (let at = start; ;) {
      const lineEnd = data.indexOf('\r\n', at)
      if (lineEnd < 0) return undefined
      const size = Number.parseInt(data.toString('latin1', at, lineEnd), 16)
      const next = lineEnd + 2 + size + 2
      if (data.length < next) return undefined
      if (size === 0) return { text: Buffer.concat(parts).toString('utf8'), end: next }
      parts.push(data.subarray(lineEnd + 2, lineEnd + 2 + size))
      at = next
    }
  }
  return closed ? { text: data.toString('utf8', start), end: data.length } : undefined
}
