import { type CancellationError, type ReasonData, revive } from './errors.ts'
import { type Cancellation, type SharedCancellation, Token } from './token.ts'

// The buffer: a flag, the length of what follows, and the reason as JSON.
const FLAG = 0
const LENGTH = 1
const HEAD_BYTES = 8
const BYTES = 2_048
const LONGEST_MESSAGE = 256

/** ES2024, which Node 20 has and the language version we compile for does not. */
const { waitAsync } = Atomics as unknown as {
  waitAsync: (words: Int32Array, index: number, expected: number) => { value: unknown }
}

/** Memory that tells threads when `token` is cancelled. */
export function shareCancellation(token: Token): SharedCancellation {
  const buffer = new SharedArrayBuffer(BYTES)
  token.onCancel(({ kind, message, started }) => {
    const reason: ReasonData = { kind, message: message.slice(0, LONGEST_MESSAGE), started }
    const words = new Int32Array(buffer, 0, 2)
    words[LENGTH] = Buffer.from(buffer, HEAD_BYTES).write(JSON.stringify(reason))
    Atomics.store(words, FLAG, 1)
    Atomics.notify(words, FLAG)
  })
  return { buffer, deadline: token.deadline }
}

/** In a worker thread: the cancellation of the request that `share()` was called for. */
export function fromShared(shared: SharedCancellation): Cancellation {
  return new SharedToken(shared)
}

class SharedToken extends Token {
  readonly #shared: SharedCancellation
  readonly #words: Int32Array<SharedArrayBuffer>

  constructor(shared: SharedCancellation) {
    super(shared.deadline)
    this.#shared = shared
    this.#words = new Int32Array(shared.buffer, 0, 2)
    Object.freeze(this)
  }

  share(): SharedCancellation {
    return this.#shared
  }

  protected override look(): CancellationError | undefined {
    if (Atomics.load(this.#words, FLAG) === 0) return undefined
    const json = Buffer.from(this.#shared.buffer, HEAD_BYTES, this.#words[LENGTH]).toString()
    return revive(JSON.parse(json) as ReasonData)
  }

  protected override watch(): void {
    void Promise.resolve(waitAsync(this.#words, FLAG, 0).value).then(() => this.reason)
  }

  protected override listenerFailed(error: unknown): void {
    process.emitWarning(error instanceof Error ? error : String(error))
  }
}

Object.freeze(SharedToken.prototype)
