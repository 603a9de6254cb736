import { eventually, startFixture } from '@muster/testkit'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { directory } from './directory.ts'
import { type Program, startProgram } from './program.ts'

const NOBODY = 65_534
const here = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))

interface Datagram {
  pid: number
  uid: number
  lines: string[]
}

async function startManager() {
  const socket = join(directory(0o777), 'notify')
  const program = startProgram('python3', [here('notify-receiver.py'), socket])
  await program.waitFor(/bound/)
  const received = (): Datagram[] => {
    const complete = program.output.split('\n').slice(1, -1)
    const datagrams: Datagram[] = complete.map((line) => JSON.parse(line))
    // The helper's own, with which it waits until the manager has seen what it sent.
    return datagrams.filter(({ lines }) => lines[0] !== 'BARRIER=1')
  }
  const datagram = (start: string) =>
    eventually(() => {
      const found = received().find(({ lines }) => lines.includes(start))
      if (!found) throw new Error(`no ${start} in ${JSON.stringify(received())}`)
      return found
    })
  return { socket, received, datagram }
}

type Manager = Awaited<ReturnType<typeof startManager>>

function startWithDescriptor(manager: Manager, options: object, uid = 0, env = {}): Program {
  const command = [process.execPath, here('notified.js'), JSON.stringify(options)]
  return startProgram('python3', [here('open-file.py'), manager.socket, `${uid}`, ...command], {
    env: { NOTIFY_SOCKET: manager.socket, ...env }
  })
}

function startWithHelper(manager: Manager, options: object, uid = 0, env = {}): Program {
  return startProgram(process.execPath, [here('notified.js'), JSON.stringify(options)], {
    env: { NOTIFY_SOCKET: manager.socket, ...env },
    uid
  })
}

const ways = [
  ['an inherited descriptor', startWithDescriptor],
  ['the systemd-notify binary', startWithHelper]
] as const
const users = process.getuid?.() === 0 ? [0, NOBODY] : [process.getuid?.() ?? 0]
const cases = ways.flatMap(([way, start]) => users.map((uid) => ({ way, start, uid })))

describe('systemd', () => {
  it.each(cases)('is told of a whole life through $way by user $uid', async ({ start, uid }) => {
    const manager = await startManager()
    const service = start(manager, { hold: 300, reload: true, unready: true }, uid, {
      WATCHDOG_USEC: '200000'
    })
    await manager.datagram('READY=1')
    await service.waitFor(/ready again/)
    await eventually(() =>
      expect(
        manager.received().filter(({ lines }) => lines[0] === 'WATCHDOG=1').length
      ).toBeGreaterThan(2)
    )
    service.signal('SIGHUP')
    await manager.datagram('STATUS=reloading')
    await service.waitFor(/reloaded/)
    service.signal('SIGTERM')
    await manager.datagram('STOPPING=1')
    expect(await service.exited).toEqual([0, null])

    const told = manager.received().filter(({ lines }) => lines[0] !== 'WATCHDOG=1')
    expect(told.map(({ lines }) => lines)).toEqual([
      ['EXTEND_TIMEOUT_USEC=10000000', 'STATUS=waiting for self-probe, hold migrations'],
      ['READY=1', 'STATUS=ready'],
      ['STATUS=unready: hold reload: not released yet'],
      ['STATUS=ready'],
      ['RELOADING=1', expect.stringMatching(/^MONOTONIC_USEC=\d+$/), 'STATUS=reloading'],
      ['READY=1', 'STATUS=ready'],
      ['STOPPING=1', 'STATUS=draining: app.close()']
    ])
    expect(new Set(manager.received().map((datagram) => datagram.uid))).toEqual(new Set([uid]))
  })

  it('hears the service itself through the descriptor, not a helper', async () => {
    const manager = await startManager()
    const service = startWithDescriptor(manager, {})
    // open-file.py becomes the service.
    expect((await manager.datagram('READY=1')).pid).toBe(service.pid)
  })

  it('is told the time of a reload by the monotonic clock', async () => {
    const manager = await startManager()
    const service = startWithDescriptor(manager, { reload: true })
    await manager.datagram('READY=1')
    const before = process.hrtime.bigint() / 1_000n
    service.signal('SIGHUP')
    const { lines } = await manager.datagram('RELOADING=1')
    const time = BigInt(lines[1]?.split('=')[1] ?? 0)
    expect(time).toBeGreaterThanOrEqual(before)
    expect(time).toBeLessThanOrEqual(process.hrtime.bigint() / 1_000n)
  })

  it('is not told READY by a service that is stopped while it starts', async () => {
    const manager = await startManager()
    const service = startWithDescriptor(manager, { hold: 60_000 })
    await manager.datagram('EXTEND_TIMEOUT_USEC=10000000')
    service.signal('SIGTERM')
    await manager.datagram('STOPPING=1')
    expect(await service.exited).toEqual([0, null])
    expect(JSON.stringify(manager.received())).not.toContain('READY=1')
  })

  it('is told why, when the service fails', async () => {
    const manager = await startManager()
    const service = startWithDescriptor(manager, { hold: 60_000, timeout: 300 })
    await service.exited
    const last = manager.received().at(-1)?.lines[0]
    expect(last).toMatch(/^STATUS=failed: not ready within 300 ms: waiting for hold migrations/)
  })

  it('gets more time again and again while the service starts', async () => {
    const manager = await startManager()
    startWithDescriptor(manager, { hold: 60_000 })
    await eventually(() => expect(manager.received().length).toBeGreaterThan(1))
    expect(
      manager.received().every(({ lines }) => lines[0] === 'EXTEND_TIMEOUT_USEC=10000000')
    ).toBe(true)
  })

  it('is not sent the watchdog of another process', async () => {
    const manager = await startManager()
    startWithDescriptor(manager, {}, 0, { WATCHDOG_USEC: '100000', WATCHDOG_PID: '1' })
    await manager.datagram('READY=1')
    const service = startWithDescriptor(manager, { hold: 400 }, 0, {})
    await eventually(() =>
      expect(manager.received().filter(({ lines }) => lines[0] === 'READY=1')).toHaveLength(2)
    )
    expect(JSON.stringify(manager.received())).not.toContain('WATCHDOG')
    service.signal('SIGTERM')
  })

  it('does not get a watchdog message from an event loop that is blocked', async () => {
    const manager = await startManager()
    const service = startWithDescriptor(manager, { block: 1_000 }, 0, { WATCHDOG_USEC: '200000' })
    await service.waitFor(/blocked/)
    const dogs = () => manager.received().filter(({ lines }) => lines[0] === 'WATCHDOG=1').length
    const before = dogs()
    await service.waitFor(/unblocked/)
    expect(dogs() - before).toBeLessThan(3)
    await eventually(() => expect(dogs()).toBeGreaterThan(before + 3))
  })

  it('that cannot be told is logged once, with what to do, and the service goes on', async () => {
    const manager = await startManager()
    const service = startFixture(here('notified.js'), {
      args: [JSON.stringify({ unready: true })],
      env: { NOTIFY_SOCKET: manager.socket, PATH: '/nowhere' }
    })
    onTestFinished(() => service.kill())
    await service.waitFor(/ready again/)
    service.signal('SIGTERM')
    expect((await service.exited).code).toBe(0)
    expect(service.output.match(/"msg":"systemd could not be notified"/g)).toHaveLength(1)
    expect(service.output).toContain('OpenFile=/run/systemd/notify:notify')
  })

  it('is left alone where it did not start the service', async () => {
    const service = startProgram(process.execPath, [here('notified.js'), '{"reload":true}'])
    await service.waitFor(/state ready/)
    expect(service.output).not.toContain('could not')
  })
})
