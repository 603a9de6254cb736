import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { eventually } from './eventually.ts'

const running = new Set<ChildProcess>()

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Kills `child` when this process ends before it did. */
export function killAtExit(child: ChildProcess): void {
  running.add(child)
  child.once('exit', () => running.delete(child))
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface Fixture {
  readonly pid: number
  readonly child: ChildProcess
  /** Everything written to stdout and stderr so far, in order of arrival. */
  readonly output: string
  /** Resolves when the process has ended and its output is complete. */
  readonly exited: Promise<Exit>
  /** Resolves with the first match in the output; rejects after `deadline` ms or at exit, showing the output. */
  waitFor(pattern: RegExp, deadline?: number): Promise<RegExpMatchArray>
  signal(signal: NodeJS.Signals): void
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
}

/**
 * Starts a script with this Node and captures what it prints.
 * Its environment is PATH, HOME and what `env` adds, so that a test does not depend on the shell it runs in.
 */
export function startFixture(
  script: string | URL,
  options: { args?: string[]; env?: Record<string, string>; execArgv?: string[]; cwd?: string } = {}
): Fixture {
  const { PATH = '', HOME = '' } = process.env
  const child = fork(script, options.args ?? [], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { PATH, HOME, ...options.env },
    execArgv: options.execArgv ?? [],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd })
  })
  killAtExit(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr] as Readable[]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  let ended = false
  const exited = once(child, 'close').then(([code, signal]): Exit => {
    ended = true
    return { code, signal }
  })

  return {
    pid: child.pid as number,
    child,
    exited,
    get output() {
      return output
    },
    async waitFor(pattern, deadline = 10_000) {
      const outcome = await eventually(
        () => {
          const match = output.match(pattern)
          if (match) return match
          if (ended) return undefined
          throw new Error(`no ${pattern} within ${deadline} ms in:\n${output}`)
        },
        { deadline }
      )
      if (!outcome) throw new Error(`ended without ${pattern}:\n${output}`)
      return outcome
    },
    signal: (signal) => void child.kill(signal),
    async kill() {
      child.kill('SIGKILL')
      await exited
    }
  }
}
