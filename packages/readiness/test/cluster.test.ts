import { eventually, freePort, startFixture } from '@muster/testkit'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { clusterReadiness } from '../src/cluster.ts'
import { isReady, readyPid, watchReady } from '../src/marker.ts'
import { directory } from './directory.ts'

const script = new URL('fixtures/cluster.js', import.meta.url)
const service = 'clustered'

async function startCluster() {
  const dir = directory()
  const env = { MUSTER_READY_DIR: dir, PORT: `${await freePort()}` }
  const primary = startFixture(script, { env })
  onTestFinished(() => primary.kill())
  return { dir, primary, names: () => readdirSync(join(dir, service)).toSorted() }
}

describe('cluster of four workers', { timeout: 30_000 }, () => {
  it('is ready when all are, unready the moment one dies, and ready again after its replacement', async () => {
    const { dir, primary, names } = await startCluster()
    const stop = new AbortController()
    const seen: boolean[] = []
    const watching = (async () => {
      // A long interval: the changes are seen because the primary acts, not because somebody looks.
      const watch = watchReady({ dir, service, interval: 60_000, signal: stop.signal })
      for await (const ready of watch) seen.push(ready)
    })()
    await primary.waitFor(/cluster ready: 4 workers are ready/)
    expect(names()).toEqual(['.ready', '.ready.1', '.ready.2', '.ready.3', '.ready.4'])
    expect(readyPid({ dir, service })).toBe(primary.pid)
    expect(isReady({ dir, service, parts: 4 })).toBe(true)

    const [, pid] = await primary.waitFor(/worker 2 (\d+) ready/)
    expect(readyPid({ dir, service, part: '2' })).toBe(Number(pid))
    process.kill(Number(pid), 'SIGKILL')
    await primary.waitFor(/cluster unready: workers: 3 of 4 are ready, worker 2 is gone/)
    expect(isReady({ dir, service })).toBe(false)
    expect(isReady({ dir, service, parts: 4 })).toBe(false)
    await primary.waitFor(/worker 5 \d+ ready/)
    await primary.waitFor(/cluster ready:.*\n[^]*cluster ready: 4 workers are ready/)
    expect(names()).toEqual(['.ready', '.ready.1', '.ready.3', '.ready.4', '.ready.5'])
    await eventually(() => expect(seen).toEqual([false, true, false, true]))

    primary.signal('SIGTERM')
    expect((await primary.exited).code).toBe(0)
    expect(names()).toEqual([])
    stop.abort()
    await watching
  })

  it('finds each worker by itself, although the port is shared', async () => {
    const { primary } = await startCluster()
    await primary.waitFor(/cluster ready/)
    primary.signal('SIGTERM')
    expect((await primary.exited).code).toBe(0)
    expect(primary.output.match(/worker \d asked 1$/gm)).toHaveLength(4)
  })

  it('contrast: a request to the shared port is answered by any worker', async () => {
    const dir = directory()
    const port = await freePort()
    const primary = startFixture(script, { env: { MUSTER_READY_DIR: dir, PORT: `${port}` } })
    onTestFinished(() => primary.kill())
    await primary.waitFor(/cluster ready/)
    const pids = new Set<string>()
    await eventually(async () => {
      const response = await fetch(`http://127.0.0.1:${port}/`, {
        headers: { connection: 'close' }
      })
      pids.add(await response.text())
      expect(pids.size).toBe(4)
    })
  })
})

describe('clusterReadiness', () => {
  it('fails when the workers are not ready in time, and says how many were', async () => {
    const log = { info() {}, warn() {}, error() {} }
    const cluster = clusterReadiness({ service, workers: 2, timeout: 60, notify: [], log })
    await expect(cluster.whenReady()).rejects.toThrow('not ready within 60 ms: 0 of 2 are ready')
    expect(cluster.state).toBe('failed')
    cluster.close()
  })

  it.each([
    [{}, 'option "workers"'],
    [{ workers: 0 }, 'option "workers"'],
    [{ workers: 1, service: 'No Slug' }, 'option "service": expected a slug'],
    [{ workers: 1, wrokers: 1 }, 'unknown option "wrokers"']
  ])('refuses %j', (options, message) => {
    expect(() => clusterReadiness(options as never)).toThrow(message)
  })
})
