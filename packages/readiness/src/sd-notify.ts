import { fstatSync, write } from 'node:fs'
import { promisify } from 'node:util'
import { NotifyError } from './errors.ts'

/** sd_listen_fds(3) */
const FIRST_DESCRIPTOR = 3
const HELPER_TIMEOUT = 5_000

/** Sends lines such as `READY=1` to the service manager (sd_notify(3)), one message after the other. */
export class SdNotify {
  readonly #descriptor = inheritedDescriptor()
  #last: Promise<unknown> = Promise.resolve()

  /** Whether there is a service manager to tell. */
  static get present(): boolean {
    return Boolean(process.env.NOTIFY_SOCKET) || inheritedDescriptor() !== undefined
  }

  send(lines: string[]): Promise<void> {
    const sent = this.#last.then(() =>
      this.#descriptor === undefined ? byHelper(lines) : byDescriptor(this.#descriptor, lines)
    )
    this.#last = sent.catch(() => {})
    return sent
  }
}

/**
 * The socket that the unit opened for us: `OpenFile=/run/systemd/notify:notify`. Node has no unix datagram sockets
 * of its own, but it can write to one, and then the message comes from this very process.
 */
function inheritedDescriptor(): number | undefined {
  const { LISTEN_PID, LISTEN_FDNAMES = '' } = process.env
  const index = LISTEN_FDNAMES.split(':').indexOf('notify')
  if (index < 0 || LISTEN_PID !== `${process.pid}`) return undefined
  const descriptor = FIRST_DESCRIPTOR + index
  try {
    return fstatSync(descriptor).isSocket() ? descriptor : undefined
  } catch {
    return undefined
  }
}

async function byDescriptor(descriptor: number, lines: string[]): Promise<void> {
  try {
    await promisify(write)(descriptor, lines.join('\n'))
  } catch (cause) {
    throw new NotifyError((cause as Error).message, { cause })
  }
}

/** As another user than root, the unit must have `NotifyAccess=all` for this. */
async function byHelper(lines: string[]): Promise<void> {
  const { execFile } = await import('node:child_process')
  try {
    await promisify(execFile)('systemd-notify', lines, { timeout: HELPER_TIMEOUT })
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const why =
      code === 'ENOENT'
        ? 'add OpenFile=/run/systemd/notify:notify to the unit, or install systemd-notify'
        : message
    throw new NotifyError(why, { cause })
  }
}
