import { randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingHttpHeaders, request as plainRequest } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { ProbeError, ProbePathError } from './errors.ts'

/** Asks with one secret and expects the other back, so that a stranger on the port cannot answer for us. */
export class ProbeToken {
  static readonly header = 'x-muster-probe'
  readonly ask = randomBytes(16).toString('hex')
  readonly answer = randomBytes(16).toString('hex')

  isAsk(value: unknown): boolean {
    return same(value, this.ask)
  }

  isAnswer(value: unknown): boolean {
    return same(value, this.answer)
  }
}

function same(value: unknown, secret: string): boolean {
  return (
    typeof value === 'string' &&
    value.length === secret.length &&
    timingSafeEqual(Buffer.from(value), Buffer.from(secret))
  )
}

/** What is probed. */
export interface Probed {
  /** Where it listens; a string is a unix socket. */
  addresses(): (AddressInfo | string)[]
  server: { emit(event: 'connection', socket: Socket): boolean }
}

export interface SelfProbeOptions {
  tls: boolean
  http2: boolean
  /** What to GET; without it a TCP connection is enough. */
  path?: string | undefined
  /** ms for each attempt. */
  timeout: number
  token: ProbeToken
  signal: AbortSignal
  onFailure: (error: Error) => void
}

/**
 * Reaches this service through each address it listens on, until each has answered.
 * @throws {ProbePathError} when the path is not there; an AbortError when aborted
 */
export async function selfProbe(
  service: Pick<Probed, 'addresses'>,
  options: SelfProbeOptions
): Promise<void> {
  await Promise.all(service.addresses().map((address) => untilReached(target(address), options)))
}

/**
 * The same for a worker of `node:cluster`: the ports are shared, and a request may end up with any worker. So they
 * are only connected to, and the request takes a door of its own to the server of this process.
 */
export async function selfProbeInCluster(
  service: Probed,
  options: SelfProbeOptions
): Promise<void> {
  const { createServer } = await import('node:net')
  const door = createServer((socket) => void service.server.emit('connection', socket))
  door.listen({ port: 0, host: '127.0.0.1', exclusive: true })
  try {
    await once(door, 'listening', { signal: options.signal })
    await selfProbe({ addresses: () => [door.address() as AddressInfo] }, options)
    await selfProbe(service, { ...options, path: undefined })
  } finally {
    door.close()
  }
}

type Target = { host: string; port: number } | { socketPath: string }

function target(address: AddressInfo | string): Target {
  if (typeof address === 'string') return { socketPath: address }
  const wildcards: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' }
  return { host: wildcards[address.address] ?? address.address, port: address.port }
}

async function untilReached(target: Target, options: SelfProbeOptions): Promise<void> {
  for (let delay = 5; ; delay = Math.min(delay * 2, 500)) {
    options.signal.throwIfAborted()
    try {
      return await attempt(target, options)
    } catch (error) {
      if (error instanceof ProbePathError) throw error
      options.onFailure(error as Error)
    }
    await pause(delay, undefined, { signal: options.signal })
  }
}

async function attempt(target: Target, options: SelfProbeOptions): Promise<void> {
  const { path, timeout, token } = options
  const where = 'host' in target ? `${target.host} port ${target.port}` : target.socketPath
  const expired = AbortSignal.timeout(timeout)
  const signal = AbortSignal.any([options.signal, expired])
  try {
    if (path === undefined) return await connectOnly(target, signal)
    const { status, headers } = await (options.http2 ? getHttp2 : getHttp1)(
      target,
      path,
      options,
      signal
    )
    if (!token.isAnswer(headers[ProbeToken.header])) {
      throw new ProbeError(`${where} answered ${status}, but it is not this process`)
    }
    if (status === 404) throw new ProbePathError(path)
    if (status >= 400) throw new ProbeError(`${where} answered ${status} to GET ${path}`)
  } catch (error) {
    if (error instanceof ProbeError || error instanceof ProbePathError) throw error
    if (expired.aborted) throw new ProbeError(`${where} did not answer within ${timeout} ms`)
    throw new ProbeError(`${where}: ${(error as Error).message}`)
  }
}

/** Our own certificate, reached by an address that it need not name; the token tells that it is us. */
const INSECURE = { rejectUnauthorized: false }

interface Answer {
  status: number
  headers: IncomingHttpHeaders
}

async function connectOnly(target: Target, signal: AbortSignal): Promise<void> {
  const { connect } = await import('node:net')
  const socket = connect('host' in target ? target : { path: target.socketPath })
  await settled<void>(
    signal,
    () => socket.destroy(),
    (resolve, reject) => {
      socket.once('connect', resolve).on('error', reject)
    }
  )
}

async function getHttp1(
  target: Target,
  path: string,
  { tls, token }: SelfProbeOptions,
  signal: AbortSignal
): Promise<Answer> {
  const request = tls ? (await import('node:https')).request : plainRequest
  const call = request({
    ...target,
    path,
    agent: false,
    // An address has no server name; without it the agent would compile a pattern for ms to find that out.
    servername: '',
    headers: { [ProbeToken.header]: token.ask },
    ...INSECURE
  })
  return settled<Answer>(
    signal,
    () => call.destroy(),
    (resolve, reject) => {
      call.on('error', reject)
      call.once('response', (response) =>
        resolve({ status: response.statusCode as number, headers: response.headers })
      )
      call.end()
    }
  )
}

async function getHttp2(
  target: Target,
  path: string,
  { tls, token }: SelfProbeOptions,
  signal: AbortSignal
): Promise<Answer> {
  const { connect } = await import('node:http2')
  const [net, secure] = [await import('node:net'), tls && (await import('node:tls'))]
  const place = 'host' in target ? target : { path: target.socketPath }
  const session = connect(`${tls ? 'https' : 'http'}://localhost`, {
    createConnection: () =>
      secure ? secure.connect({ ...place, ...INSECURE, ALPNProtocols: ['h2'] }) : net.connect(place)
  })
  return settled<Answer>(
    signal,
    () => session.destroy(),
    (resolve, reject) => {
      session.on('error', reject)
      const stream = session.request({ ':path': path, [ProbeToken.header]: token.ask })
      stream.on('error', reject)
      stream.once('response', (headers) =>
        resolve({ status: headers[':status'] as number, headers: headers as IncomingHttpHeaders })
      )
    }
  )
}

/** Settles as `start` says or with the signal, and cleans up either way. */
async function settled<T>(
  signal: AbortSignal,
  cleanUp: () => void,
  start: (resolve: (value: T) => void, reject: (error: unknown) => void) => void
): Promise<T> {
  const giveUp = new AbortController()
  try {
    return await new Promise<T>((resolve, reject) => {
      // First of all: what is cleaned up may report an error, and somebody must be listening.
      start(resolve, reject)
      if (signal.aborted) return reject(signal.reason)
      signal.addEventListener('abort', () => reject(signal.reason), { signal: giveUp.signal })
    })
  } finally {
    giveUp.abort()
    cleanUp()
  }
}
