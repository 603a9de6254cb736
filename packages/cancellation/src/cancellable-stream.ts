import { finished, type Readable, Transform } from 'node:stream'
import { isBecauseOf } from './cause.ts'
import type { CancellationError } from './errors.ts'
import type { Format } from './record.ts'
import type { Cancellation } from './token.ts'

const NEWLINE = 10

/**
 * What `source` gives. When cancelled it fails with the reason, if nothing was given yet; else it ends with a last
 * record, or, without a format for one, breaks off. `source` is destroyed then, so that a generator's `finally` runs.
 */
export function cancellableStream(
  source: Readable,
  token: Cancellation,
  lastRecord: Format | undefined
): Readable {
  let begun = false
  let atLineEnd = true
  let last = ''
  let watching: Disposable | undefined

  const output = new Transform({
    transform(chunk: Buffer, _, done) {
      begun = true
      if (chunk.length > 0) atLineEnd = chunk.at(-1) === NEWLINE
      done(null, chunk)
    },
    flush(done) {
      done(null, last)
    },
    destroy(error, done) {
      watching?.[Symbol.dispose]()
      source.destroy()
      done(error)
    }
  })

  source.pipe(output)
  finished(source, { writable: false }, (error) => {
    if (!error || output.writableEnded) return
    const { reason } = token
    if (reason && isBecauseOf(error, reason)) stop(reason)
    else output.destroy(error)
  })
  // Whoever sends the stream may not listen yet.
  output.on('error', () => {})
  watching = token.onCancel(stop)
  return output

  function stop(reason: CancellationError): void {
    if (output.writableEnded || output.destroyed) return
    source.unpipe(output)
    if (!begun) return void output.destroy(reason)
    if (!lastRecord) return void output.destroy()
    last = (atLineEnd ? '' : '\n') + lastRecord(reason)
    output.end()
    source.destroy()
  }
}
