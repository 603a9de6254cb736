import { eventually, startFixture } from '@muster/testkit'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { clearReady, declareReady, isReady, readyPid, watchReady } from '../src/marker.ts'
import { directory } from './directory.ts'

const fixture = (name: string) => new URL(`fixtures/${name}.js`, import.meta.url)
const service = 'billing'

async function startDeclaring(dir: string, part?: string) {
  const child = startFixture(fixture('declares'), { args: [dir, ...(part ? [part] : [])] })
  onTestFinished(() => child.kill())
  await child.waitFor(/declared/)
  return child
}

describe('marker without Fastify', () => {
  it('has the PID on its first line and the rest as JSON on the second, and goes when it is cleared', () => {
    const dir = directory()
    expect(isReady({ dir, service })).toBe(false)
    declareReady({ dir, service, version: '1.2.3', incarnation: 'abc' })

    const path = join(dir, service, '.ready')
    const [first, second, end] = readFileSync(path, 'utf8').split('\n')
    expect(first).toBe(String(process.pid))
    expect(JSON.parse(second ?? '')).toMatchObject({ incarnation: 'abc', version: '1.2.3' })
    expect(end).toBe('')
    expect(isReady({ dir, service })).toBe(true)
    expect(readyPid({ dir, service })).toBe(process.pid)

    expect(clearReady({ dir, service })).toBe(true)
    expect(readdirSync(join(dir, service))).toEqual([])
    expect(isReady({ dir, service })).toBe(false)
    expect(clearReady({ dir, service })).toBe(false)
  })

  it('can be read by others whatever the umask', () => {
    const dir = directory()
    const before = process.umask(0o077)
    onTestFinished(() => void process.umask(before))
    declareReady({ dir, service })
    expect(statSync(join(dir, service, '.ready')).mode & 0o777).toBe(0o644)
  })

  it('is found in MUSTER_READY_DIR, or in the first of RUNTIME_DIRECTORY', () => {
    const [dir, other] = [directory(), directory()]
    vi.stubEnv('RUNTIME_DIRECTORY', `${other}:/run/nowhere`)
    declareReady({ service })
    expect(isReady({ dir: other, service })).toBe(true)
    vi.stubEnv('MUSTER_READY_DIR', dir)
    declareReady({ service })
    expect(isReady({ dir, service })).toBe(true)
    vi.unstubAllEnvs()
    expect(() => declareReady({ service })).toThrow('neither MUSTER_READY_DIR nor')
  })

  it('is not that of a dead process, nor of another one that has its PID by now', async () => {
    const dir = directory()
    const child = await startDeclaring(dir)
    expect(readyPid({ dir, service })).toBe(child.pid)
    await child.kill()
    expect(existsSync(join(dir, service, '.ready'))).toBe(true)
    expect(isReady({ dir, service })).toBe(false)

    const recycled = `${process.pid}\n{"processStart":1}\n`
    writeFileSync(join(dir, service, '.ready'), recycled)
    expect(isReady({ dir, service })).toBe(false)
  })

  it('contrast: a marker that exists, or whose PID is alive, says nothing', () => {
    const dir = directory()
    mkdirSync(join(dir, service))
    writeFileSync(join(dir, service, '.ready'), `${process.pid}\n{"processStart":1}\n`)
    const pid = Number(readFileSync(join(dir, service, '.ready'), 'utf8').split('\n')[0])
    expect(existsSync(join(dir, service, '.ready'))).toBe(true)
    expect(process.kill(pid, 0)).toBe(true)
    expect(isReady({ dir, service })).toBe(false)
  })

  it('may come from an older writer, with nothing but a PID; anything else is none', () => {
    const dir = directory()
    mkdirSync(join(dir, service))
    const path = join(dir, service, '.ready')
    writeFileSync(path, `${process.pid}\n`)
    expect(isReady({ dir, service })).toBe(true)
    for (const content of ['', '0\n', '-1\n', 'yes\n', `${process.pid}\n{"incarn`]) {
      writeFileSync(path, content)
      expect(isReady({ dir, service }), JSON.stringify(content)).toBe(false)
    }
  })

  it('replaces a symbolic link in its place and does not follow it', () => {
    const dir = directory()
    mkdirSync(join(dir, service))
    const victim = join(dir, 'victim')
    writeFileSync(victim, `${process.pid}\n`)
    symlinkSync(victim, join(dir, service, '.ready'))
    expect(isReady({ dir, service })).toBe(false)

    declareReady({ dir, service })
    expect(readFileSync(victim, 'utf8')).toBe(`${process.pid}\n`)
    expect(lstatSync(join(dir, service, '.ready')).isFile()).toBe(true)
  })

  it('does not go through a symbolic link in place of its folder', () => {
    const dir = directory()
    mkdirSync(join(dir, 'elsewhere'))
    symlinkSync(join(dir, 'elsewhere'), join(dir, service))
    expect(() => declareReady({ dir, service })).toThrow(/marker file .*EEXIST/)
    expect(readdirSync(join(dir, 'elsewhere'))).toEqual([])
  })

  it('says which directory is missing', () => {
    const write = () => declareReady({ dir: '/nowhere/run', service })
    expect(write).toThrow(expect.objectContaining({ code: 'MUSTER_ERR_MARKER' }))
    expect(write).toThrow('/nowhere/run/billing/.ready: ENOENT: no such file or directory, mkdir')
  })

  it.each([
    [{ service: '../etc' }, 'option "service": expected a slug'],
    [{ service, part: '../x' }, 'option "part"'],
    [{ service, parts: 0 }, 'option "parts"'],
    [{ service, prat: 'x' }, 'unknown option "prat"']
  ])('refuses %j', (options, message) => {
    expect(() => isReady({ dir: '/tmp', ...options })).toThrow(message)
  })
})

describe('marker of an owner', () => {
  it('is left alone by an older instance that closes late', () => {
    const dir = directory()
    declareReady({ dir, service, incarnation: 'old' })
    declareReady({ dir, service, incarnation: 'new' })
    expect(clearReady({ dir, service, incarnation: 'old' })).toBe(false)
    expect(isReady({ dir, service })).toBe(true)
  })

  it('is left alone by another process', async () => {
    const dir = directory()
    const child = await startDeclaring(dir)
    expect(clearReady({ dir, service })).toBe(false)
    expect(readyPid({ dir, service })).toBe(child.pid)
  })

  it('is never seen half written, nor missing, while it is rewritten all the time', async () => {
    const dir = directory()
    const writer = startFixture(fixture('rewrites'), { args: [dir, 'atomic'] })
    onTestFinished(() => writer.kill())
    await writer.waitFor(/begun/)
    let torn = 0
    for (let i = 0; i < 20_000; i++) if (!isReady({ dir, service })) torn++
    expect(torn).toBe(0)
  })

  it('contrast: a plain file is seen half written', async () => {
    const dir = directory()
    const writer = startFixture(fixture('rewrites'), { args: [dir, 'plain'] })
    onTestFinished(() => writer.kill())
    await writer.waitFor(/begun/)
    await eventually(() => {
      for (let i = 0; i < 1_000; i++) if (!isReady({ dir, service })) return
      expect.fail('not yet')
    })
  })
})

describe('parts', () => {
  it('are ready when all are: those named, or so many', async () => {
    const dir = directory()
    const [web, worker] = [await startDeclaring(dir, 'web'), await startDeclaring(dir, 'worker')]
    expect(isReady({ dir, service })).toBe(false)
    expect(isReady({ dir, service, part: 'web' })).toBe(true)
    expect(isReady({ dir, service, parts: ['web', 'worker'] })).toBe(true)
    expect(isReady({ dir, service, parts: ['web', 'worker', 'mail'] })).toBe(false)
    expect(isReady({ dir, service, parts: 2 })).toBe(true)
    expect(isReady({ dir, service, parts: 3 })).toBe(false)
    expect(readyPid({ dir, service, part: 'worker' })).toBe(worker.pid)

    await web.kill()
    expect(isReady({ dir, service, parts: ['web', 'worker'] })).toBe(false)
    expect(isReady({ dir, service, parts: 2 })).toBe(false)
    expect(isReady({ dir, service, part: 'worker' })).toBe(true)
  })
})

describe('watchReady', () => {
  it('tells the state and each change, also a death, and ends with its signal', async () => {
    const dir = directory()
    const stop = new AbortController()
    const seen: boolean[] = []
    const watching = (async () => {
      const watch = watchReady({ dir, service, interval: 50, signal: stop.signal })
      for await (const ready of watch) seen.push(ready)
    })()
    await eventually(() => expect(seen).toEqual([false]))
    declareReady({ dir, service })
    await eventually(() => expect(seen).toEqual([false, true]))
    clearReady({ dir, service })
    await eventually(() => expect(seen).toEqual([false, true, false]))
    const child = await startDeclaring(dir)
    await eventually(() => expect(seen).toEqual([false, true, false, true]))
    await child.kill()
    await eventually(() => expect(seen).toEqual([false, true, false, true, false]))
    stop.abort()
    await watching
  })

  it('sees a marker at once, without waiting for its interval', async () => {
    const dir = directory()
    declareReady({ dir, service })
    const watch = watchReady({ dir, service, interval: 60_000 })
    expect((await watch.next()).value).toBe(true)
    const next = watch.next()
    clearReady({ dir, service })
    expect((await next).value).toBe(false)
    await watch.return()
  })
})
