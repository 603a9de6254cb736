import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually, freePort } from '@muster/testkit'
import pg from 'pg'

const DEBIAN = '/usr/lib/postgresql'
/** PostgreSQL refuses to run as root: then it runs as nobody. */
const OWNER = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

export interface Postgres {
  readonly config: { host: string; port: number; user: string; database: string }
  close(): Promise<void>
}

/** Starts a PostgreSQL of its own on a free loopback port. */
export async function startPostgres(): Promise<Postgres> {
  const bin = findBinaries()
  const dir = await mkdtemp(join(tmpdir(), 'muster-pg-'))
  if (OWNER.uid) chownSync(dir, OWNER.uid, OWNER.gid)
  const data = join(dir, 'data')
  const initdb = ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync', '--locale=C']
  execFileSync(join(bin, 'initdb'), initdb, { ...OWNER, cwd: dir, stdio: 'ignore' })
  const port = await freePort()
  const args = ['-D', data, '-F', '-h', '127.0.0.1', '-p', `${port}`, '-k', dir]
  const server = spawn(join(bin, 'postgres'), args, { ...OWNER, cwd: dir, stdio: 'ignore' })
  process.once('exit', () => server.kill('SIGKILL'))
  const config = { host: '127.0.0.1', port, user: 'postgres', database: 'postgres' }
  await eventually(async () => {
    const client = new pg.Client(config)
    await client.connect()
    await client.end()
  })
  return {
    config,
    async close() {
      server.kill('SIGINT')
      if (server.exitCode === null) await once(server, 'exit')
      await rm(dir, { recursive: true, force: true })
    }
  }
}

function findBinaries(): string {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN) : []
  const places = [
    ...versions.map((version) => join(DEBIAN, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(':')
  ]
  const bin = places.find((place) => existsSync(join(place, 'initdb')))
  if (bin) return bin
  throw new Error('These tests need PostgreSQL. Install it once: sudo apt-get install postgresql')
}
