import { parseOptions, v } from '@muster/options'
import { clusterWorker } from './cluster-worker.ts'
import type { NotifiedService, Notifier } from './notifier.ts'
import { SdNotify } from './sd-notify.ts'
import type { StateChange } from './state-machine.ts'

export interface SystemdOptions {
  /** Runs at SIGHUP, between `RELOADING=1` and `READY=1`: for units of `Type=notify-reload`. @default none: SIGHUP is left alone */
  reload?: (() => unknown) | undefined
}

const EXTENSION_INTERVAL = 2_000
const EXTENSION = 10_000
const MICROSECONDS = 1_000

const schema = v.strictObject({ reload: v.optional(v.function()) })

/**
 * Tells systemd: `READY=1`, `STATUS=`, `STOPPING=1`, `EXTEND_TIMEOUT_USEC` while starting, `RELOADING=1`, and
 * `WATCHDOG=1` from the event loop at half of `WATCHDOG_USEC` (sd_notify(3), sd_watchdog_enabled(3)).
 */
export function systemd(options: SystemdOptions = {}): Notifier {
  const { reload } = parseOptions('systemd', schema, options)
  return {
    name: 'systemd',
    present: () => SdNotify.present && !clusterWorker(),
    start: (service) => startSession(service, reload as SystemdOptions['reload'])
  }
}

function startSession(service: NotifiedService, reload: SystemdOptions['reload']) {
  const manager = new SdNotify()
  const timers = [setInterval(extend, EXTENSION_INTERVAL)]
  const watchdog = watchdogInterval()
  if (watchdog) timers.push(setInterval(() => inform(['WATCHDOG=1']), watchdog))
  if (reload) process.on('SIGHUP', onHangUp)
  extend()

  return {
    change: ({ state, previous, cause }: StateChange): Promise<void> => {
      const lines = [status(state === 'ready' ? 'ready' : `${state}: ${cause}`)]
      if (state === 'ready' && previous === 'starting') lines.unshift('READY=1')
      if (state === 'draining') lines.unshift('STOPPING=1')
      return manager.send(lines)
    },
    close(): void {
      timers.forEach(clearInterval)
      process.off('SIGHUP', onHangUp)
    }
  }

  /** The time to start is extended by little and often, so that a start that hangs is not waited for. */
  function extend(): void {
    if (service.state !== 'starting') return
    const missing = Object.keys(service.waitingFor).join(', ')
    inform([`EXTEND_TIMEOUT_USEC=${EXTENSION * MICROSECONDS}`, status(`waiting for ${missing}`)])
  }

  function onHangUp(): void {
    void (async () => {
      const now = process.hrtime.bigint() / 1_000n
      inform(['RELOADING=1', `MONOTONIC_USEC=${now}`, status('reloading')])
      try {
        await reload?.()
        inform(['READY=1', status(service.state)])
      } catch (err) {
        service.log.error({ err }, 'reloading failed')
        inform(['READY=1', status(`reloading failed: ${(err as Error).message}`)])
      }
    })()
  }

  /** For what is told again shortly, or shows in the unit's status at most. A failure to tell of a change is logged. */
  function inform(lines: string[]): void {
    manager.send(lines).catch(() => {})
  }
}

/** ms, or undefined where the watchdog is off or meant for another process. */
function watchdogInterval(): number | undefined {
  const { WATCHDOG_USEC, WATCHDOG_PID = `${process.pid}` } = process.env
  const period = Number(WATCHDOG_USEC) / MICROSECONDS
  return period > 0 && WATCHDOG_PID === `${process.pid}` ? Math.max(1, period / 2) : undefined
}

function status(text: string): string {
  return `STATUS=${text.replace(/\p{Cc}+/gu, ' ')}`
}
