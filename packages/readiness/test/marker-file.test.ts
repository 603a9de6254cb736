import { eventually, startFixture } from '@muster/testkit'
import { spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { markerFile } from '../src/notify.ts'
import { declareReady, isReady, readyPid } from '../src/marker.ts'
import { directory } from './directory.ts'
import { createService, get, listen } from './service.ts'

const NOBODY = 65_534
const script = new URL('fixtures/service.js', import.meta.url)
const service = 'billing'

function startService(options: object, env: Record<string, string> = {}) {
  const child = startFixture(script, { args: [JSON.stringify(options)], env })
  onTestFinished(() => child.kill())
  return child
}

describe('marker file', () => {
  it('is there while the service is ready, and only then', async () => {
    const dir = directory()
    const app = await createService({ service, notify: [markerFile({ dir })] })
    const path = join(dir, service, '.ready')
    const migrations = app.readiness.hold('migrations')
    const origin = await listen(app)
    await eventually(() =>
      expect(Object.keys(app.readiness.report().waitingFor)).toEqual(['hold migrations'])
    )
    expect(existsSync(path)).toBe(false)

    migrations.release()
    expect(isReady({ dir, service })).toBe(true)
    expect(readFileSync(path, 'utf8')).toContain(app.readiness.identity.incarnation)

    const reload = app.readiness.hold('reload')
    expect(existsSync(path)).toBe(false)
    reload.release()
    expect(existsSync(path)).toBe(true)

    const served = get(origin)
    void app.readiness.drain()
    expect(existsSync(path)).toBe(false)
    expect((await served).status).toBe(200)
  })

  it('goes before anybody else is told, and comes when traffic is served', async () => {
    const dir = directory()
    const app = await createService({ service, notify: [markerFile({ dir })] })
    const told: [string, boolean][] = []
    app.readiness.on('change', ({ state }) => told.push([state, isReady({ dir, service })]))
    await listen(app)
    await app.readiness.whenReady()
    await app.readiness.drain()
    expect(told).toEqual([
      ['ready', true],
      ['draining', false]
    ])
  })

  it('is written by default where MUSTER_READY_DIR is set, but never under inject', async () => {
    const dir = directory()
    vi.stubEnv('MUSTER_READY_DIR', dir)
    onTestFinished(() => void vi.unstubAllEnvs())
    const app = await createService({ service })
    await app.inject('/')
    expect(readdirSync(dir)).toEqual([])
    await listen(app)
    await app.readiness.whenReady()
    expect(readyPid({ service })).toBe(process.pid)
  })

  it('of a successor is left by an old instance that closes late', async () => {
    const dir = directory()
    const [old, next] = [
      await createService({ service, notify: [markerFile({ dir })] }),
      await createService({ service, notify: [markerFile({ dir })] })
    ]
    await listen(old)
    await old.readiness.whenReady()
    await listen(next)
    await next.readiness.whenReady()
    await old.close()
    const content = readFileSync(join(dir, service, '.ready'), 'utf8')
    expect(content).toContain(next.readiness.identity.incarnation)
  })

  it('left by a SIGKILL is removed at the next start, before the service is ready', async () => {
    const dir = directory()
    const killed = startService({ marker: { dir } })
    await killed.waitFor(/state ready/)
    await killed.kill()
    expect(readdirSync(join(dir, service))).toEqual(['.ready'])

    const app = await createService({ service, notify: [markerFile({ dir })] })
    app.readiness.hold('migrations')
    await listen(app)
    await eventually(() => expect(readdirSync(join(dir, service))).toEqual([]))
  })

  it('of a living process is not stale', async () => {
    const dir = directory()
    const running = startService({ marker: { dir } })
    await running.waitFor(/state ready/)
    const app = await createService({ service, notify: [markerFile({ dir })] })
    app.readiness.hold('migrations')
    await listen(app)
    await eventually(() =>
      expect(app.readiness.report().waitingFor).not.toHaveProperty('self-probe')
    )
    await app.close()
    expect(readyPid({ dir, service })).toBe(running.pid)
  })

  it('goes with a process that exits without closing', async () => {
    const dir = directory()
    const code = `
      const { default: readiness } = await import('@muster/readiness')
      const { markerFile } = await import('@muster/readiness/notify')
      const app = (await import('fastify')).default()
      await app.register(readiness, { service: '${service}', notify: [markerFile({ dir: '${dir}' })] })
      await app.listen({ port: 0 })
      await app.readiness.whenReady()
      console.log('was ready')
      setImmediate(() => { throw new Error('crash') })`
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
      cwd: new URL('.', import.meta.url),
      stdio: ['ignore', 'pipe', 'ignore']
    })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    const status = await new Promise((resolve) => child.once('close', resolve))
    expect([status, output]).toEqual([1, 'was ready\n'])
    expect(readdirSync(join(dir, service))).toEqual([])
  })

  it(
    'is never left behind by a SIGTERM at any moment of the start',
    { timeout: 30_000 },
    async () => {
      const dir = directory()
      let ready = 0
      for (let round = 0; round < 8; round++) {
        const child = startService({ marker: { dir } })
        if (round % 2 === 0) await child.waitFor(/listening/)
        else await child.waitFor(/state ready/)
        await pause(round)
        child.signal('SIGTERM')
        expect(await child.exited).toEqual({ code: 0, signal: null })
        const afterwards = child.output.slice(child.output.indexOf('SIGTERM'))
        expect(afterwards).not.toContain('state ready')
        if (child.output.includes('state ready')) ready++
        expect(existsSync(join(dir, service, '.ready'))).toBe(false)
      }
      expect(ready).toBeGreaterThan(3)
    }
  )
})

describe('marker file that cannot be written', () => {
  it('fails the service, with the reason', async () => {
    const notify = [markerFile({ dir: '/nowhere/run' })]
    const app = await createService({ service, notify, onFailed: 'stay' })
    await listen(app)
    await expect(app.readiness.whenReady()).rejects.toThrow(
      '/nowhere/run/billing/.ready: ENOENT: no such file or directory'
    )
  })

  it('fails the service also when it happens later', async () => {
    const dir = directory()
    const app = await createService({ service, notify: [markerFile({ dir })], onFailed: 'stay' })
    const states: string[] = []
    app.readiness.on('change', ({ state }) => states.push(state))
    const hold = app.readiness.hold('migrations')
    await listen(app)
    await eventually(() =>
      expect(Object.keys(app.readiness.report().waitingFor)).toEqual(['hold migrations'])
    )
    mkdirSync(join(dir, service, '.ready'))
    hold.release()
    await expect(app.readiness.whenReady()).rejects.toThrow('EISDIR')
    expect(states).toEqual(['failed'])
  })

  it('is a warning when it is optional', async () => {
    const notify = [markerFile({ dir: '/nowhere/run', optional: true })]
    const app = await createService({ service, notify })
    await listen(app)
    await app.readiness.whenReady()
    expect(app.readiness.state).toBe('ready')
  })

  it('is noticed as a user who may not write there', async () => {
    const dir = directory(0o555)
    const isRoot = process.getuid?.() === 0
    const child = startFixture(script, {
      args: [JSON.stringify({ marker: { dir }, ...(isRoot ? { setuid: NOBODY } : {}) })]
    })
    await child.waitFor(/EACCES: permission denied/)
    expect((await child.exited).code).toBe(1)
    expect(child.output).toContain('failed: The marker file')
  })

  it('works as another user in a directory of its own', async () => {
    const dir = directory()
    if (process.getuid?.() === 0) chownSync(dir, NOBODY, NOBODY)
    const child = startService({
      marker: { dir },
      setuid: process.getuid?.() === 0 ? NOBODY : undefined
    })
    await child.waitFor(/state ready/)
    expect(readyPid({ dir, service })).toBe(child.pid)
    chmodSync(dir, 0o755)
  })
})

describe('two parts of one service', () => {
  it('are ready together, and not once one of them is killed', async () => {
    const dir = directory()
    const web = startService({ marker: { dir, part: 'web' } })
    const worker = startService({ marker: { dir, part: 'worker' }, hold: 200 })
    await web.waitFor(/state ready/)
    const parts = ['web', 'worker']
    await worker.waitFor(/state ready/)
    expect(isReady({ dir, service, parts })).toBe(true)
    await worker.kill()
    expect(isReady({ dir, service, parts })).toBe(false)
    expect(isReady({ dir, service, part: 'web' })).toBe(true)
  })

  it('share a folder with a marker of the whole', async () => {
    const dir = directory()
    declareReady({ dir, service, part: 'web' })
    declareReady({ dir, service })
    expect(readdirSync(join(dir, service)).toSorted()).toEqual(['.ready', '.ready.web'])
  })
})
