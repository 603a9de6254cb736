import { type IncomingHttpHeaders, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { OrchestratorUnreachableError } from './errors.ts'

export interface Call {
  method: 'POST' | 'PUT' | 'DELETE'
  url: URL
  headers: Record<string, string>
  body?: string | undefined
  /** ms for all of it: connecting, the answer and its body. */
  timeout: number
  /** Ends the call at once. */
  signal: AbortSignal
  /** Certificates to trust instead of Node's own. */
  ca?: string | Buffer | undefined
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  /** As much of it as came in time, at most 64 KiB. */
  body: string
}

const BODY_LIMIT = 64 * 1024
const MAX_REDIRECTS = 3

/**
 * One request on a connection of its own. The status decides: once it is there, a body that is too long, too slow or
 * cut off is returned as far as it came.
 * @throws MUSTER_ERR_ORCHESTRATOR_UNREACHABLE without a status; its cause tells whether the request may have arrived
 */
export async function call(options: Call): Promise<Answer> {
  let { url } = options
  const deadline = performance.now() + options.timeout
  for (let redirects = 0; ; redirects++) {
    const answer = await exchange(options, url, deadline)
    const next = sameOriginRedirect(url, answer)
    if (!next || redirects === MAX_REDIRECTS) return answer
    url = next
  }
}

/** 307 and 308 ask for the same request elsewhere; what goes to an orchestrator stays with that orchestrator. */
function sameOriginRedirect(from: URL, { status, headers }: Answer): URL | undefined {
  if ((status !== 307 && status !== 308) || !headers.location) return undefined
  if (!URL.canParse(headers.location, from)) return undefined
  const next = new URL(headers.location, from)
  return next.origin === from.origin ? next : undefined
}

function exchange(options: Call, url: URL, deadline: number): Promise<Answer> {
  const { method, headers, body, timeout, signal, ca } = options
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? httpsRequest : httpRequest
    const length: Record<string, string> =
      body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const outgoing = request(url, {
      method,
      headers: { ...headers, ...length },
      agent: false,
      ...(ca === undefined ? {} : { ca })
    })
    let answer: Answer | undefined

    const finish = (cause: unknown): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      outgoing.destroy()
      if (answer) return resolve(answer)
      reject(unreachable(cause))
    }
    const unreachable = (cause: unknown): Error =>
      new OrchestratorUnreachableError(`${method} ${bare(url)}: ${reason(cause)}`, { cause })
    const abort = (): void => finish(signal.reason)
    const expire = (): void => finish(`no answer within ${timeout} ms`)
    const timer = setTimeout(expire, deadline - performance.now())
    outgoing.on('error', finish)
    signal.addEventListener('abort', abort)
    if (signal.aborted) return abort()

    outgoing.once('response', (incoming) => {
      const received: Answer = {
        status: incoming.statusCode ?? 0,
        headers: incoming.headers,
        body: ''
      }
      answer = received
      incoming.setEncoding('utf8')
      incoming.on('data', (text: string) => {
        received.body += text.slice(0, BODY_LIMIT - received.body.length)
        if (received.body.length === BODY_LIMIT) finish(undefined)
      })
      incoming.on('error', finish)
      incoming.once('close', finish)
    })
    outgoing.end(body)
  })
}

/** Without what may be secret in it. */
export function bare({ origin, pathname }: URL): string {
  return origin + pathname
}

/** Of several addresses that all failed, Node gives an AggregateError without a message. */
function reason(cause: unknown): string {
  if (cause instanceof AggregateError) return cause.errors.map(reason).join(', ')
  return cause instanceof Error ? cause.message : String(cause)
}
