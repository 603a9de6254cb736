import type { Dispatcher } from 'undici'

type Body = Dispatcher.DispatchOptions['body']

/** What is remembered of a streamed body so that it can be sent once more. */
const MOST_BYTES = 65_536

/** The body of a request that may have to be sent to more than one instance. */
export class RequestBody {
  readonly #given: Body
  readonly #source: AsyncIterator<unknown> | Iterator<unknown> | undefined
  readonly #sent: unknown[] = []
  #bytes = 0
  #started = false

  constructor(given: Body) {
    this.#given = given
    this.#source = isWhole(given) ? undefined : iteratorOf(given)
  }

  /** Whether the whole body can be sent, be it again. */
  get sendable(): boolean {
    if (isWhole(this.#given)) return true
    return !this.#started || (this.#source !== undefined && this.#bytes <= MOST_BYTES)
  }

  /** For one attempt, after those before have ended. */
  get value(): Body {
    if (!this.#source) {
      this.#started = true
      return this.#given
    }
    // undici takes any async iterable, which its types do not say.
    return this.#replay(this.#source) as unknown as Body
  }

  async *#replay(source: AsyncIterator<unknown> | Iterator<unknown>): AsyncGenerator<unknown> {
    yield* this.#sent
    // Not `for await`: it would end the source when undici gives up this attempt.
    for (;;) {
      this.#started = true
      const { value, done } = await source.next()
      if (done) return
      this.#bytes +=
        value instanceof Uint8Array ? value.byteLength : Buffer.byteLength(String(value))
      if (this.#bytes <= MOST_BYTES) this.#sent.push(value)
      yield value
    }
  }
}

function isWhole(body: Body): boolean {
  return (
    body === undefined || body === null || typeof body === 'string' || body instanceof Uint8Array
  )
}

function iteratorOf(body: unknown): AsyncIterator<unknown> | Iterator<unknown> | undefined {
  if (typeof body !== 'object' || body === null || body instanceof FormData) return undefined
  if (Symbol.asyncIterator in body) return (body as AsyncIterable<unknown>)[Symbol.asyncIterator]()
  if (Symbol.iterator in body) return (body as Iterable<unknown>)[Symbol.iterator]()
  return undefined
}
