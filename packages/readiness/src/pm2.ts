import type { Notifier } from './notifier.ts'

/**
 * Tells PM2 `ready` (for its `wait_ready`), and shuts the service down at its `shutdown` message
 * (`shutdown_with_message`).
 */
export function pm2(): Notifier {
  return {
    name: 'PM2',
    present: () => process.send !== undefined && 'pm_id' in process.env,
    start({ shutDown }) {
      const onMessage = (message: unknown): void => {
        if (message === 'shutdown') shutDown('PM2')
      }
      process.on('message', onMessage)
      return {
        change({ state, previous }) {
          if (state === 'ready' && previous === 'starting') process.send?.('ready')
        },
        close: () => void process.off('message', onMessage)
      }
    }
  }
}
