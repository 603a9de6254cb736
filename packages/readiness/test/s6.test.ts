import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { directory } from './directory.ts'
import { type Program, startProgram } from './program.ts'

const script = fileURLToPath(new URL('fixtures/s6-service.js', import.meta.url))

/** A service directory (servicedir(7)) under an s6-supervise of its own. */
function supervise({ fd = 3, run = '', release = '' } = {}): { dir: string; supervisor: Program } {
  const dir = directory()
  writeFileSync(join(dir, 'notification-fd'), `${fd}\n`)
  writeFileSync(
    join(dir, 'run'),
    `#!/bin/sh\n${run}exec '${process.execPath}' '${script}' ${release}\n`
  )
  chmodSync(join(dir, 'run'), 0o755)
  return { dir, supervisor: startProgram('s6-supervise', [dir], { killSignal: 'SIGTERM' }) }
}

const wait = async (dir: string, what: '-u' | '-U', ms: number) => {
  const [code] = await startProgram('s6-svwait', [what, '-t', `${ms}`, dir]).exited
  return code === 0
}

describe('s6', () => {
  it('waits for ready with s6-svwait -U, and for no less', async () => {
    const release = join(directory(), 'release')
    const { dir, supervisor } = supervise({ release })
    await supervisor.waitFor(/listening/)
    expect(await wait(dir, '-U', 400)).toBe(false)
    // Contrast: the process is up all the same.
    expect(await wait(dir, '-u', 10_000)).toBe(true)

    writeFileSync(release, '')
    expect(await wait(dir, '-U', 10_000)).toBe(true)
    await supervisor.waitFor(/state ready/)
    // Down and done with.
    supervisor.signal('SIGTERM')
    await supervisor.exited
  })

  it('is told through the descriptor given, where the run script changes directory', async () => {
    const { dir, supervisor } = supervise({ fd: 5, run: 'cd /\nexport S6_FD=5\n' })
    // s6-svwait is for services that are supervised already.
    await supervisor.waitFor(/listening/)
    expect(await wait(dir, '-U', 10_000)).toBe(true)
    supervisor.signal('SIGTERM')
    await supervisor.exited
  })

  it('is told no second time by a service that is ready again', async () => {
    const { supervisor } = supervise({ run: 'export TWICE=1\n' })
    await supervisor.waitFor(/ready again/)
    supervisor.signal('SIGTERM')
    await supervisor.exited
    expect(supervisor.output).not.toContain('could not be notified')
  })
})

it('a descriptor that is no pipe is not written to', async () => {
  const dir = directory()
  const file = join(dir, 'file')
  mkdirSync(join(dir, 'supervise'))
  writeFileSync(join(dir, 'notification-fd'), '3')
  const service = startProgram(
    '/bin/sh',
    ['-c', `exec '${process.execPath}' '${script}' 3>${file}`],
    {
      cwd: dir
    }
  )
  await service.waitFor(/state ready/)
  expect(readFileSync(file, 'utf8')).toBe('')
})
