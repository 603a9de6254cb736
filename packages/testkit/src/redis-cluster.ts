import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { type RedisServer, startRedis } from './redis.ts'

export interface RedisCluster {
  /** Three masters, then a replica of the first. */
  readonly servers: RedisServer[]
  /** For `new Cluster(nodes)`. */
  readonly nodes: { host: string; port: number }[]
  /** Which of `servers` is the master that has `key`, as the replica sees it. */
  masterOf(key: string): Promise<number>
  /** Moves the slot of `key`, with its keys, to the master `to`. */
  moveSlotOf(key: string, to: number): Promise<void>
  close(): Promise<void>
}

const SLOTS = 16_384
const MASTERS = 3

/** Starts a Redis Cluster of three masters and one replica on free loopback ports. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const ports = await Promise.all(Array.from({ length: MASTERS + 1 }, freePort))
  const servers = await Promise.all(
    ports.map((busPort) =>
      startRedis({
        args: [
          '--cluster-enabled',
          'yes',
          '--cluster-port',
          `${busPort}`,
          '--cluster-node-timeout',
          '1000',
          '--cluster-replica-validity-factor',
          '0'
        ]
      })
    )
  )
  const [first, ...others] = servers as [RedisServer, ...RedisServer[]]
  const replica = servers[MASTERS] as RedisServer

  await Promise.all(
    servers.slice(0, MASTERS).map((server, at) => {
      const from = Math.floor((SLOTS * at) / MASTERS)
      const to = Math.floor((SLOTS * (at + 1)) / MASTERS) - 1
      return expectOk(server, `CLUSTER ADDSLOTSRANGE ${from} ${to}`)
    })
  )
  for (const [at, server] of others.entries()) {
    await expectOk(first, `CLUSTER MEET 127.0.0.1 ${server.port} ${ports[at + 1]}`)
  }
  const firstId = await idOf(first)
  await eventually(() => expectOk(replica, `CLUSTER REPLICATE ${firstId}`))
  await eventually(async () => {
    for (const server of servers) await expectIn(server, 'CLUSTER INFO', 'cluster_state:ok')
    await expectIn(replica, 'INFO replication', 'master_link_status:up')
    await expectIn(first, 'CLUSTER NODES', `slave ${firstId}`)
  })

  async function masterOf(key: string): Promise<number> {
    const slot = Number((await replica.command(`CLUSTER KEYSLOT ${key}`)).slice(1))
    const lines = (await replica.command('CLUSTER NODES')).split('\n')
    for (const line of lines) {
      const [, address = '', flags = '', , , , , , ...ranges] = line.trim().split(' ')
      if (!flags.includes('master') || flags.includes('fail')) continue
      const has = ranges.some((range) => {
        const [from = 0, to = from] = range.split('-').map(Number)
        return slot >= from && slot <= to
      })
      if (has) return servers.findIndex(({ port }) => address.includes(`:${port}@`))
    }
    return -1
  }

  return {
    servers,
    nodes: servers.map(({ port }) => ({ host: '127.0.0.1', port })),
    masterOf,
    async moveSlotOf(key, to) {
      const source = servers[await masterOf(key)] as RedisServer
      const target = servers[to] as RedisServer
      const slot = (await source.command(`CLUSTER KEYSLOT ${key}`)).trim().slice(1)
      const [sourceId, targetId] = [await idOf(source), await idOf(target)]
      await expectOk(target, `CLUSTER SETSLOT ${slot} IMPORTING ${sourceId}`)
      await expectOk(source, `CLUSTER SETSLOT ${slot} MIGRATING ${targetId}`)
      const keys = (await source.command(`CLUSTER GETKEYSINSLOT ${slot} 1000`)).split('\r\n')
      for (const name of keys.filter((_, at) => at > 0 && at % 2 === 0)) {
        await source.command(`MIGRATE 127.0.0.1 ${target.port} ${name} 0 1000`)
      }
      for (const server of [target, source]) {
        await expectOk(server, `CLUSTER SETSLOT ${slot} NODE ${targetId}`)
      }
    },
    async close() {
      await Promise.all(servers.map((server) => server.close()))
    }
  }
}

async function idOf(server: RedisServer): Promise<string> {
  return (await server.command('CLUSTER MYID')).split('\r\n')[1] as string
}

async function expectOk(server: RedisServer, line: string): Promise<void> {
  const reply = await server.command(line)
  if (!reply.startsWith('+OK')) throw new Error(`${line}: ${reply}`)
}

async function expectIn(server: RedisServer, line: string, text: string): Promise<void> {
  const reply = await server.command(line)
  if (!reply.includes(text)) throw new Error(`${line} has no ${text}: ${reply}`)
}
