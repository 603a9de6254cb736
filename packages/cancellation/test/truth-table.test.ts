import { afterAll, describe, expect, test } from 'vitest'
import { type Cell, cellsOf, Table, TRANSPORTS, type Verdict } from './truth-table.ts'

/** What must come out: completing is no cancellation, everything else is that the client left. */
function expected({ kind, event }: Cell): string {
  // A WebSocket has no response to complete: the request is over when its connection is.
  if (event === 'completes' && kind !== 'WebSocket') return 'not'
  return 'cancelled: client'
}

const AT_A_TIME = 12

describe.each(TRANSPORTS)('over %s', (transport) => {
  const table = new Table(transport)
  afterAll(() => table.close())

  test('each cell is cancelled exactly when its client left', async () => {
    await table.open()
    const queue = cellsOf(transport)
    const verdicts: [Cell, Verdict][] = []
    const work = async () => {
      for (let cell = queue.pop(); cell; cell = queue.pop()) {
        verdicts.push([cell, await table.verdict(cell)])
      }
    }
    await Promise.all(Array.from({ length: AT_A_TIME }, work))
    expect(verdicts.length).toBe(cellsOf(transport).length)
    const wrong = verdicts.filter(([cell, { ours }]) => ours !== expected(cell))
    expect(wrong).toEqual([])
    const builtinWrong = verdicts.filter(
      ([cell, { builtin }]) => (builtin === 'aborted') !== (expected(cell) !== 'not')
    )
    console.log(
      transport,
      verdicts.length,
      'wrong',
      wrong.length,
      'builtin wrong',
      builtinWrong.length
    )
  }, 30_000)
})
