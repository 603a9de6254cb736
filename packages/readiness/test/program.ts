import { eventually } from '@muster/testkit'
import { spawn, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'

export interface Program {
  readonly pid: number
  /** What it has printed so far. */
  readonly output: string
  readonly exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>
  waitFor(pattern: RegExp): Promise<void>
  signal(signal: NodeJS.Signals): void
}

/** Starts any program; it is ended with `killSignal`, SIGKILL by default, when the test is over. */
export function startProgram(
  command: string,
  args: string[],
  { env, killSignal = 'SIGKILL', ...options }: SpawnOptions & { killSignal?: NodeJS.Signals } = {}
): Program {
  const { PATH, HOME } = process.env
  const child = spawn(command, args, {
    ...options,
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  const exited = once(child, 'close') as Program['exited']
  onTestFinished(async () => {
    child.kill(killSignal)
    await exited
  })
  return {
    pid: child.pid as number,
    exited,
    get output() {
      return output
    },
    waitFor: (pattern) =>
      eventually(() => {
        if (!pattern.test(output)) throw new Error(`no ${pattern} in:\n${output}`)
      }),
    signal: (signal) => void child.kill(signal)
  }
}
