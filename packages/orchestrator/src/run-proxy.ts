import { lookup } from 'node:dns'
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { PathError, UnreachableError, UpstreamTimeoutError } from './errors.ts'

export interface ProxiedRequest {
  method: 'GET' | 'HEAD'
  /** Below the instance's URL, as it came, with the query. */
  path: string
  headers: IncomingHttpHeaders
  /** ms to wait for the head of the answer. */
  timeout: number
  /** The client has gone. */
  signal: AbortSignal
}

const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade'
]
/** Between a browser and the orchestrator, none of a service's business. */
const OURS = ['host', 'x-service-key', 'cookie', 'content-length', 'content-type', 'expect']

/** Where clouds keep their credentials: no service lives there. */
const FORBIDDEN = new BlockList()
FORBIDDEN.addSubnet('169.254.0.0', 16, 'ipv4')
FORBIDDEN.addSubnet('fe80::', 10, 'ipv6')
FORBIDDEN.addAddress('fd00:ec2::254', 'ipv6')

/**
 * Asks the instances at `urls` one after the other until one answers anything but 503, which a starting or leaving one
 * says. Redirects are handed on, not followed.
 * @throws MUSTER_ERR_PATH, MUSTER_ERR_UNREACHABLE, MUSTER_ERR_UPSTREAM_TIMEOUT
 */
export async function askInTurn(urls: string[], request: ProxiedRequest): Promise<IncomingMessage> {
  assertBelow(request.path)
  let refusal: IncomingMessage | undefined
  let failure: Error = new UnreachableError('there is no instance')
  for (const url of urls) {
    if (request.signal.aborted) break
    try {
      const answer = await ask(url, request)
      refusal?.destroy()
      if (answer.statusCode !== 503) return answer
      refusal = answer
    } catch (error) {
      if (error instanceof UpstreamTimeoutError) throw error
      failure = error as Error
    }
  }
  if (refusal) return refusal
  throw failure
}

/** The headers of an answer that are meant for whoever asked. */
export function endToEnd(
  headers: IncomingHttpHeaders,
  without: string[] = []
): IncomingHttpHeaders {
  const named = headers.connection?.split(',').map((name) => name.trim().toLowerCase()) ?? []
  const dropped = new Set([...HOP_BY_HOP, ...without, ...named])
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !dropped.has(name)))
}

function ask(
  base: string,
  { method, path, headers, timeout, signal }: ProxiedRequest
): Promise<IncomingMessage> {
  if (!URL.canParse(base)) throw new UnreachableError('it has no URL')
  const { protocol, hostname, port, pathname } = new URL(base)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) && isForbidden(host))
    throw new UnreachableError(`${host} is no address of a service`)
  return new Promise((resolve, reject) => {
    const call = (protocol === 'https:' ? httpsRequest : httpRequest)({
      method,
      host,
      port,
      // Joined as text: a URL parser would resolve and re-encode it.
      path: pathname.replace(/\/$/, '') + path,
      headers: { ...endToEnd(headers, OURS), via: '1.1 muster-orchestrator' },
      agent: false,
      lookup: lookupAllowed
    })
    const abandon = (): void => void call.destroy()
    const expire = (): void =>
      void call.destroy(new UpstreamTimeoutError(`${host} within ${timeout} ms`))
    const timer = setTimeout(expire, timeout)
    signal.addEventListener('abort', abandon)
    call.once('close', () => signal.removeEventListener('abort', abandon))
    call.once('response', (answer) => {
      clearTimeout(timer)
      resolve(answer)
    })
    call.on('error', (cause) => {
      clearTimeout(timer)
      reject(
        cause instanceof UpstreamTimeoutError
          ? cause
          : new UnreachableError(`${host}: ${cause.message}`, { cause })
      )
    })
    call.end()
  })
}

/** Checks what a name resolves to where it is used, so that it cannot change in between. */
const lookupAllowed: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, options, (error, address, family) => {
    const all =
      typeof address === 'string' ? [address] : (address ?? []).map((each) => each.address)
    const bad = all.find(isForbidden)
    if (bad)
      return callback(new UnreachableError(`${bad} is no address of a service`), address, family)
    callback(error, address, family)
  })
}

function isForbidden(address: string): boolean {
  return FORBIDDEN.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}

/** Neither plain nor encoded dots lead out of what was registered. */
function assertBelow(path: string): void {
  const [pathname = ''] = path.split('?')
  let decoded: string
  try {
    decoded = decodeURIComponent(pathname)
  } catch {
    throw new PathError('the path is badly encoded')
  }
  const isUp = (segment: string): boolean => segment === '..' || segment === '.'
  if (decoded.split(/[/\\]/).some(isUp))
    throw new PathError('the path must not contain . or .. segments')
}
