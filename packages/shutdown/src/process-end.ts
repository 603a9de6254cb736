import closeWithGrace from 'close-with-grace'

export interface EndOptions {
  signals: NodeJS.Signals[]
  /** ms after which the process exits with code 1, however far the end has come. */
  budget: number
  /** What must happen before the process exits; a rejection makes the exit code 1. */
  end: (why: { cause: string; err?: unknown }) => Promise<void>
  /** A second signal: somebody is in a hurry. A third one exits at once. */
  onHurry: (signal: NodeJS.Signals) => void
  onTimeout: () => void
  /** An error that nobody caught, while the end is under way. */
  onFurtherError: (error: unknown) => void
}

export interface ProcessEnd {
  /** Ends the process as a signal would. */
  begin(cause: string): void
  /** Gives the process's signals and errors back, unless the end has begun. */
  uninstall(): void
}

/** Ends under way in this process: several apps share its signals, and none exits before the others are done. */
const ends = new Set<Promise<void>>()

const CRASHES = ['uncaughtException', 'unhandledRejection'] as const

/**
 * Ties the end of the process to `options.end`. close-with-grace has the budget and the exit codes; what begins the
 * end is listened to here, because it exits on a second signal and on a second error.
 */
export function onProcessEnd(options: EndOptions): ProcessEnd {
  let received = 0
  let begun = false
  let why: { cause: string; err?: unknown } = { cause: '' }
  const grace = closeWithGrace(
    {
      delay: options.budget,
      logger: false,
      skip: [
        ...(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGILL', 'SIGTRAP', 'SIGABRT'] as const),
        ...(['SIGBUS', 'SIGFPE', 'SIGSEGV', 'SIGUSR2', 'SIGTERM', 'beforeExit'] as const),
        ...CRASHES
      ],
      onTimeout: options.onTimeout
    },
    async () => {
      const end = options.end(why)
      ends.add(end)
      await end.catch(() => {})
      await Promise.allSettled(ends)
      await end
    }
  )
  for (const signal of options.signals) process.on(signal, onSignal)
  for (const crash of CRASHES) process.on(crash, onCrash)
  // PM2 sends this instead of a signal where it is told to (shutdown_with_message), and on Windows.
  if (process.env['pm_id'] !== undefined) process.on('message', onMessage)

  function onSignal(signal: NodeJS.Signals): void {
    received += 1
    if (received === 1) begin({ cause: signal })
    else if (received === 2) options.onHurry(signal)
    else process.exit(1)
  }

  function onMessage(message: unknown): void {
    if (message === 'shutdown') begin({ cause: 'shutdown message' })
  }

  function onCrash(err: unknown): void {
    if (begun) options.onFurtherError(err)
    else begin({ cause: 'an error that nobody caught', err })
  }

  function begin(given: typeof why): void {
    if (begun) return
    begun = true
    why = given
    grace.close()
  }

  return {
    begin: (cause) => begin({ cause }),
    uninstall() {
      // Until the exit, a further signal must not end the process the default way.
      if (begun) return
      grace.uninstall()
      for (const signal of options.signals) process.off(signal, onSignal)
      for (const crash of CRASHES) process.off(crash, onCrash)
      process.off('message', onMessage)
    }
  }
}
