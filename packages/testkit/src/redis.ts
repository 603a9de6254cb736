import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { killAtExit } from './processes.ts'

export interface RedisServer {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** SIGKILL, as a crash would. */
  kill(): Promise<void>
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void
  /** SIGCONT after `pause()`. */
  resume(): void
  /** Starts it again on the same port, with its data unless `empty`. */
  restart(options?: { empty?: boolean }): Promise<void>
  /** Sends one inline command and returns the raw reply. */
  command(line: string): Promise<string>
  /** Stops the server and removes its directory. */
  close(): Promise<void>
}

/** Spawns a redis-server of its own on a free loopback port and waits until it answers. */
export async function startRedis(options: { args?: string[] } = {}): Promise<RedisServer> {
  const port = await freePort()
  const dir = await mkdtemp(join(tmpdir(), 'muster-redis-'))
  let server = await launch()

  async function launch(): Promise<ChildProcess> {
    const child = spawn(
      'redis-server',
      ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', dir].concat(
        options.args ?? []
      ),
      { stdio: 'ignore' }
    )
    killAtExit(child)
    await once(child, 'spawn')
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`redis-server exited with ${child.exitCode}`)
      if (!/^(\+PONG|-NOAUTH|-DENIED)/.test(await command('PING'))) throw new Error('not yet')
    })
    return child
  }

  async function kill(): Promise<void> {
    if (server.exitCode !== null || server.signalCode !== null) return
    server.kill('SIGKILL')
    await once(server, 'exit')
  }

  function command(line: string): Promise<string> {
    return sendCommand(port, line)
  }

  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return server.pid as number
    },
    kill,
    pause: () => void server.kill('SIGSTOP'),
    resume: () => void server.kill('SIGCONT'),
    command,
    async restart({ empty = false } = {}) {
      const running = server.exitCode === null && server.signalCode === null
      if (running && !empty) await command('SAVE')
      await kill()
      if (empty) await rm(join(dir, 'dump.rdb'), { force: true })
      server = await launch()
    },
    async close() {
      await kill()
      await rm(dir, { recursive: true, force: true })
    }
  }
}

/** Sends one inline command to the Redis on a loopback port and returns the raw reply. */
export function sendCommand(port: number, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.setTimeout(2_000, () => socket.destroy(new Error('redis did not answer')))
    socket.once('error', reject)
    socket.once('data', (data) => {
      resolve(data.toString())
      socket.destroy()
    })
    socket.write(`${line}\r\n`)
  })
}
