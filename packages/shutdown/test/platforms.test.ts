import { startFixture } from '@muster/testkit'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readOptions } from '../src/options.ts'

function start(name: string, env: Record<string, string> = {}) {
  const fixture = startFixture(new URL(`fixtures/${name}.js`, import.meta.url), { env })
  onTestFinished(() => fixture.kill())
  return fixture
}

describe('defaults', () => {
  it('leave time for the endpoint to be removed under Kubernetes, and fit into its 30 s', () => {
    const { drainDelay, grace, closing } = readOptions({}, { KUBERNETES_SERVICE_HOST: '10.0.0.1' })
    expect({ drainDelay, grace, closing }).toEqual({
      drainDelay: 5_000,
      grace: 20_000,
      closing: 3_000
    })
  })

  it('have no drain delay elsewhere', () => {
    expect(readOptions({}, {})).toMatchObject({ drainDelay: 0, grace: 25_000, closing: 3_000 })
  })
})

describe('a plan that does not fit', () => {
  it('is told at boot with the numbers', async () => {
    const service = start('service', { TERMINATION_GRACE_PERIOD: '10', LOG: '1' })
    await service.waitFor(
      /the shutdown may take 28000 ms \(drainDelay 0 \+ grace 25000 \+ closing 3000\), but the platform kills after 10000 ms/
    )
  })

  it('is looked for where PM2 says how long it waits', () => {
    expect(readOptions({}, { pm_id: '0', kill_timeout: '1600' }).platformLimit).toBe(1_600)
    expect(readOptions({}, { kill_timeout: '1600' }).platformLimit).toBe(Infinity)
    expect(readOptions({}, { TERMINATION_GRACE_PERIOD: 'soon' }).platformLimit).toBe(Infinity)
  })
})

describe('PM2', () => {
  it('ends the process by its shutdown message', async () => {
    const fixture = start('pm2', { pm_id: '0' })
    await fixture.waitFor(/ready: /)
    fixture.child.send('shutdown')
    expect((await fixture.exited).code).toBe(0)
    expect(fixture.output).toContain('draining: shutdown message')
  })
})

describe('a terminal', () => {
  it('skips the drain delay on Ctrl-C', async () => {
    const script = fileURLToPath(new URL('fixtures/service.js', import.meta.url))
    const terminal = spawn(
      'script',
      ['-qec', `exec "${process.execPath}" "${script}"`, '/dev/null'],
      {
        env: { ...process.env, OPTIONS: '{"drainDelay":60000}' }
      }
    )
    let output = ''
    terminal.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
    onTestFinished(() => void terminal.kill('SIGKILL'))
    await expect.poll(() => output, { timeout: 5_000 }).toContain('ready: ')
    terminal.stdin.write('\u0003')
    const [code] = await once(terminal, 'exit')
    expect(code, output).toBe(0)
    expect(output).toContain('draining: SIGINT')
  })
})

describe('a cluster', () => {
  it('ends when every worker has ended, with code 0', async () => {
    const fixture = start('cluster')
    await fixture.waitFor(/worker ready[^]*worker ready/)
    fixture.signal('SIGTERM')
    expect((await fixture.exited).code).toBe(0)
    expect(fixture.output.match(/worker closed/g)).toHaveLength(2)
  })

  it('kills a worker that does not end in time, and exits with 1', async () => {
    const fixture = start('cluster', { DEAF: '1' })
    await fixture.waitFor(/worker ready[^]*worker ready/)
    fixture.signal('SIGTERM')
    expect((await fixture.exited).code).toBe(1)
    expect(fixture.output.match(/worker closed/g)).toHaveLength(1)
  })
})
