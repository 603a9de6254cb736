import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { killAtExit } from './processes.ts'
import { type RedisServer, sendCommand, startRedis } from './redis.ts'

export interface RedisSentinels {
  /** For `new Redis({ sentinels, name })`. */
  readonly sentinels: { host: string; port: number }[]
  readonly name: string
  /** The first is the master until a failover. */
  readonly servers: RedisServer[]
  /** Has the sentinels make the other server the master; resolves when they agree that it is. */
  failover(): Promise<void>
  /** Resolves when the sentinels name a master other than `port`. */
  masterOtherThan(port: number): Promise<number>
  close(): Promise<void>
}

const NAME = 'muster'
const SENTINELS = 3

/** Starts a master, a replica and three sentinels, which take a silent master for dead after half a second. */
export async function startRedisSentinels(): Promise<RedisSentinels> {
  const master = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] })
  const replica = await startRedis({
    args: ['--replicaof', '127.0.0.1', `${master.port}`, '--repl-diskless-sync-delay', '0']
  })
  const servers = [master, replica]
  const dir = await mkdtemp(join(tmpdir(), 'muster-sentinel-'))
  const running = await Promise.all(Array.from({ length: SENTINELS }, launch))
  const sentinels = running.map(({ port }) => ({ host: '127.0.0.1', port }))
  await eventually(async () => {
    for (const { port } of running) {
      const state = await sendCommand(port, `SENTINEL MASTER ${NAME}`)
      for (const [field, count] of [
        ['num-slaves', '1'],
        ['num-other-sentinels', '2']
      ]) {
        if (!new RegExp(`${field}\\r\\n\\$1\\r\\n${count}`).test(state)) throw new Error(state)
      }
    }
    const replication = await replica.command('INFO replication')
    if (!replication.includes('master_link_status:up')) throw new Error(replication)
  })

  async function launch() {
    const port = await freePort()
    const file = join(dir, `${port}.conf`)
    await writeFile(
      file,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${dir}`,
        `sentinel monitor ${NAME} 127.0.0.1 ${master.port} 2`,
        `sentinel down-after-milliseconds ${NAME} 500`,
        `sentinel failover-timeout ${NAME} 3000`
      ].join('\n')
    )
    const child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
    killAtExit(child)
    await once(child, 'spawn')
    await eventually(() => sendCommand(port, 'PING'))
    return { port, child }
  }

  async function masterPort(): Promise<number> {
    const votes = await Promise.all(
      running.map(({ port }) => sendCommand(port, `SENTINEL GET-MASTER-ADDR-BY-NAME ${NAME}`))
    )
    const ports = votes.map((reply) => Number(reply.split('\r\n')[4]))
    if (new Set(ports).size > 1) throw new Error(`the sentinels disagree: ${ports.join()}`)
    return ports[0] as number
  }

  async function masterOtherThan(port: number): Promise<number> {
    return eventually(
      async () => {
        const now = await masterPort()
        if (now === port) throw new Error(`${port} is still the master`)
        return now
      },
      { deadline: 20_000, every: 50 }
    )
  }

  return {
    name: NAME,
    sentinels,
    servers,
    masterOtherThan,
    async failover() {
      const before = await masterPort()
      await eventually(async () => {
        const reply = await sendCommand(running[0]?.port as number, `SENTINEL FAILOVER ${NAME}`)
        if (!reply.startsWith('+OK')) throw new Error(reply)
      })
      await masterOtherThan(before)
    },
    async close() {
      for (const { child } of running) {
        child.kill('SIGKILL')
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      }
      await Promise.all(servers.map((server) => server.close()))
      await rm(dir, { recursive: true, force: true })
    }
  }
}
