import { markerFile } from '@muster/readiness/notify'
import { eventually, rawRequest, type RedisServer, startRedis } from '@muster/testkit'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createService } from './service.ts'

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.close())

async function markedPid(dir: string): Promise<number | undefined> {
  const marker = await readFile(join(dir, 'billing', '.ready'), 'utf8').catch(() => '')
  return marker ? Number(marker.split('\n')[0]) : undefined
}

describe('a critical check that fails and recovers at run time', () => {
  it('is seen by the probe, in the marker file and by the other instances, each time', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'muster-ready-unready-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    const options = { redis: server.url, namespace: randomUUID() }
    let healthy = true
    const { app, listen, warnings } = await createService(options, {
      checks: { ledger: { check: () => healthy, interval: 50, failures: 1, critical: true } },
      notify: [markerFile({ dir })]
    })
    const other = await createService(options, { service: 'orders', notify: [] })
    await other.listen()
    const port = Number(new URL(await listen()).port)

    async function seen() {
      const { status } = await rawRequest(
        port,
        'GET /readyz HTTP/1.1\r\nhost: billing\r\nconnection: close\r\n\r\n'
      )
      const instances = await other.app.presence.instances('billing')
      return {
        probe: status,
        marked: await markedPid(dir),
        shown: instances.map(({ incarnation, status, ready, serving }) => {
          return { incarnation, status, ready, serving }
        })
      }
    }

    const { incarnation } = app.readiness.identity
    const ready = {
      probe: 200,
      marked: process.pid,
      shown: [{ incarnation, status: 'ready', ready: true, serving: true }]
    }
    const unready = {
      probe: 503,
      marked: undefined,
      shown: [{ incarnation, status: 'unready', ready: false, serving: false }]
    }
    // Sooner than the next heartbeat, which is after 4.5 s at the earliest.
    const soon = { deadline: 3_000 }
    await eventually(async () => expect(await seen()).toEqual(ready))
    for (let round = 0; round < 3; round++) {
      healthy = false
      await eventually(async () => expect(await seen()).toEqual(unready), soon)
      healthy = true
      await eventually(async () => expect(await seen()).toEqual(ready), soon)
    }
    expect(app.presence.self.state).toBe('present')
    expect(warnings.filter((message) => /presence|marker/.test(message))).toEqual([])
  })
})
