import { retryAfter } from './backoff.ts'
import { OrchestratorRefusedError } from './errors.ts'
import { type Answer, bare, call, type Call } from './http-call.ts'

export interface ClientOptions {
  /** Sent with every request. */
  headers: Record<string, string>
  /** Never shown, even where the orchestrator echoes them. */
  secrets: string[]
  ca?: string | Buffer | undefined
}

/** What became of a request, whether it was answered or not. */
export interface Outcome {
  /**
   * `unknown`: 404 or 410. `fenced`: 409, another process has our name. `rejected`: no retry will help before somebody
   * has changed the configuration.
   */
  result: 'ok' | 'unknown' | 'fenced' | 'rejected' | 'failed'
  /** As far as it came. */
  body: string
  /** Why it is not ok. */
  error?: Error
  /** ms that the orchestrator asks to wait. */
  wait: number
  /** The request may have had its effect. */
  mayHaveArrived: boolean
}

const REJECTIONS = new Set([301, 302, 303, 307, 308, 400, 401, 403, 405, 413, 415, 422])
const NEVER_ARRIVED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN'])
const SHOWN = 2_000

/** Talks to one orchestrator. Never rejects. */
export class OrchestratorClient {
  readonly #options: ClientOptions

  constructor(options: ClientOptions) {
    this.#options = options
  }

  async send(request: Omit<Call, 'headers' | 'ca'>): Promise<Outcome> {
    const { headers, ca } = this.#options
    const type = request.body === undefined ? {} : { 'content-type': 'application/json' }
    try {
      return this.#judge(request, await call({ ...request, ca, headers: { ...headers, ...type } }))
    } catch (thrown) {
      const error = thrown as Error
      return { result: 'failed', body: '', error, wait: 0, mayHaveArrived: mayHaveArrived(error) }
    }
  }

  #judge({ method, url }: Pick<Call, 'method' | 'url'>, answer: Answer): Outcome {
    const { status, headers, body } = answer
    const isOk = status >= 200 && status < 300
    // A 5xx may come from something between us, or from after the entry was made.
    const common = {
      body,
      wait: retryAfter(headers['retry-after']),
      mayHaveArrived: isOk || status >= 500
    }
    if (isOk) return { result: 'ok', ...common }
    const target = headers.location === undefined ? '' : ` to ${headers.location}`
    const said = body.trim() === '' ? '' : `: ${body.trim().slice(0, SHOWN)}`
    const text = `${method} ${bare(url)} answered ${status}${target}${said}`
    const error = new OrchestratorRefusedError(this.#redact(text))
    return { result: nameOf(status), error, ...common }
  }

  #redact(text: string): string {
    return this.#options.secrets.reduce((shown, secret) => shown.replaceAll(secret, '***'), text)
  }
}

function nameOf(status: number): Outcome['result'] {
  if (status === 404 || status === 410) return 'unknown'
  if (status === 409) return 'fenced'
  return REJECTIONS.has(status) ? 'rejected' : 'failed'
}

function mayHaveArrived({ cause }: Error): boolean {
  return !NEVER_ARRIVED.has(String((cause as { code?: unknown } | undefined)?.code))
}
