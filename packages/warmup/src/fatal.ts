import { inspect } from 'node:util'
import { FatalError } from './errors.ts'

const MARK = Symbol.for('muster.warmup.fatal')

/** What mysql and mysql2 call fatal as well: for them it says that the connection is gone. */
const NETWORK_CODE = /^(E[A-Z]+|PROTOCOL_CONNECTION_LOST)$/

/**
 * Marks an error as one that no further attempt can mend: `throw fatal(new Error('no such model'))`.
 * @returns the error, with `fatal: true`
 */
export function fatal(error: unknown): Error {
  const marked = error instanceof Error ? error : new FatalError(inspect(error))
  return Object.assign(marked, { fatal: true, [MARK]: true })
}

/** Whether it went through `fatal()`, or says `fatal: true` of itself and is no failure of the network. */
export function isFatal(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { [MARK]: marked, fatal, code } = error as { [MARK]?: true; fatal?: true; code?: unknown }
  return marked === true || (fatal === true && !NETWORK_CODE.test(String(code)))
}
