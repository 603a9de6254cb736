import { OptionError } from '@muster/options'
import type { WaitOptions } from './eager.ts'
import type { Warmup } from './index.ts'
import { DISPOSAL_LIMIT, Task, type TaskSettings } from './task.ts'
import type { Logger, TaskReport } from './task-progress.ts'

type Plan = Record<string, TaskSettings & { after: string[] }>

/** The tasks of one app: each begins when what it comes after is done, and they are disposed of in reverse. */
export class TaskGraph implements Warmup {
  /** Each after those it needs. */
  readonly #tasks = new Map<string, Task>()
  #disposal: Promise<void> | undefined

  constructor(plan: Plan, life: AbortSignal, log: Logger) {
    try {
      for (const [name, { after, ...settings }] of inOrder(plan)) {
        const needed = after.map((other) => this.task(other))
        this.#tasks.set(name, new Task(name, settings, needed, life, log))
      }
    } catch (error) {
      void this.dispose()
      throw error
    }
  }

  get tasks(): Task[] {
    return [...this.#tasks.values()]
  }

  /** ms */
  get longestDisposal(): number {
    return this.#tasks.size * DISPOSAL_LIMIT
  }

  task(name: string): Task {
    const task = this.#tasks.get(name)
    if (task) return task
    const known = [...this.#tasks.keys()].join(', ') || 'none'
    throw new OptionError(`warmup: there is no task "${name}"; there are: ${known}`)
  }

  get(name: string, options?: WaitOptions): Promise<any> {
    return this.task(name).get(options)
  }

  refresh(name: string, options?: WaitOptions): Promise<any> {
    return this.task(name).refresh(options)
  }

  report(): Record<string, TaskReport> {
    return Object.fromEntries(this.tasks.map(({ name, report }) => [name, report]))
  }

  /** Gives back what was made, what was needed last. Never rejects. */
  dispose(): Promise<void> {
    this.#disposal ??= this.#dispose()
    return this.#disposal
  }

  async #dispose(): Promise<void> {
    for (const task of this.tasks.reverse()) await task.dispose()
  }
}

/** @throws MUSTER_ERR_OPTION for a name that is not there, or tasks that wait for each other */
function inOrder(plan: Plan): [string, Plan[string]][] {
  const ordered = new Map<string, Plan[string]>()
  for (const name of Object.keys(plan)) visit(name, [])
  return [...ordered]

  function visit(name: string, path: string[]): void {
    if (ordered.has(name)) return
    const dependent = path.at(-1)
    const settings = Object.hasOwn(plan, name) ? plan[name] : undefined
    if (!settings) {
      throw new OptionError(
        `warmup: option "tasks.${dependent}.after": received "${name}"; the tasks are ${Object.keys(plan).join(', ')}`
      )
    }
    if (path.includes(name)) {
      const cycle = [...path.slice(path.indexOf(name)), name].join(' → ')
      throw new OptionError(`warmup: option "tasks.${dependent}.after": received a cycle, ${cycle}`)
    }
    for (const other of settings.after) visit(other, [...path, name])
    ordered.set(name, settings)
  }
}
