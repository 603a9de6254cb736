import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** A program that gets SIGTERM when the request is cancelled, and SIGKILL if it is still there after `patience` ms. */
export async function runProgram(
  cancellation,
  command,
  args,
  { patience = 5_000, ...options } = {}
) {
  cancellation.throwIfCancelled()
  const child = spawn(command, args, options)
  let timer
  const watching = cancellation.onCancel(() => {
    child.kill('SIGTERM')
    timer = setTimeout(() => child.kill('SIGKILL'), patience)
  })
  try {
    const [code] = await once(child, 'exit')
    cancellation.throwIfCancelled()
    return code
  } finally {
    watching[Symbol.dispose]()
    clearTimeout(timer)
  }
}
