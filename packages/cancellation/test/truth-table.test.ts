import { afterAll, describe, expect, test } from 'vitest'
import { type Cell, cellsOf, summary, Table, TRANSPORTS, type Verdict } from './truth-table.ts'

/** What must come out: completing is no cancellation, everything else is that the client left. */
function expected({ kind, event }: Cell): string {
  // A WebSocket has no response to complete: the request is over when its connection is.
  if (event === 'completes' && kind !== 'WebSocket') return 'not'
  return 'cancelled: client'
}

const AT_A_TIME = 12

describe.each(TRANSPORTS)('over %s', (transport) => {
  const table = new Table(transport)
  const cells = cellsOf(transport)
  const verdicts: [Cell, Verdict][] = []

  afterAll(async () => {
    await table.close()
    // TRUTH_TABLE=1 prints what the docs show.
    if (process.env['TRUTH_TABLE']) console.log(`${transport}\n\n${summary(verdicts, expected)}`)
  })

  test('each cell is cancelled exactly when its client left', { timeout: 60_000 }, async () => {
    await table.open()
    const queue = [...cells]
    const work = async () => {
      for (let cell = queue.pop(); cell; cell = queue.pop()) {
        verdicts.push([cell, await table.verdict(cell)])
      }
    }
    await Promise.all(Array.from({ length: AT_A_TIME }, work))
    expect(verdicts.length).toBe(cells.length)
    expect(verdicts.filter(([cell, { ours }]) => ours !== expected(cell))).toEqual([])
  })

  test("contrast: Fastify's request.signal is wrong for every POST with a body", () => {
    const body = verdicts.filter(([{ kind }]) => kind === 'POST 1 KB')
    const wrong = body.filter(
      ([cell, { builtin }]) => (builtin === 'aborted') !== (expected(cell) !== 'not')
    )
    const completes = wrong.filter(([{ event }]) => event === 'completes')
    expect(completes.map(([{ reading }]) => reading)).toContain('at once')
    const missed = wrong.filter(([{ event }]) => event !== 'completes')
    expect(missed.length).toBeGreaterThanOrEqual(3)
  })
})
