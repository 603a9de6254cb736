import { eventually } from '@muster/testkit'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { directory } from './directory.ts'

const bin = join(createRequire(import.meta.url).resolve('pm2/package.json'), '../bin/pm2')
const LISTEN_TIMEOUT = 45_000
const script = fileURLToPath(new URL('fixtures/pm2-service.js', import.meta.url))

/** A free port out of the range from which the system gives ports to clients: PM2 must find it free a while later. */
async function portToKeep(): Promise<number> {
  const port = 20_000 + Math.floor(Math.random() * 10_000)
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
    return port
  } catch {
    return portToKeep()
  } finally {
    server.close()
  }
}

/** A PM2 daemon of its own with one app. */
async function startPm2(app: object) {
  const home = directory()
  const port = await portToKeep()
  const env = { ...process.env, PM2_HOME: home, PM2_DISABLE_VERSION_CHECK: 'true', PORT: `${port}` }
  const ecosystem = join(home, 'ecosystem.json')
  const [out_file, error_file] = [join(home, 'out'), join(home, 'out')]
  const defaults = { name: 'managed', script, wait_ready: true, listen_timeout: LISTEN_TIMEOUT }
  writeFileSync(
    ecosystem,
    JSON.stringify({ apps: [{ ...defaults, out_file, error_file, ...app }] })
  )
  const pm2 = async (...args: string[]) => {
    const start = performance.now()
    const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args], { env })
    return { took: performance.now() - start, stdout }
  }
  onTestFinished(async () => void (await pm2('kill')))
  await pm2('ping')
  const { took } = await pm2('start', ecosystem)
  return { took, url: `http://127.0.0.1:${port}/`, pm2, output: join(home, 'out') }
}

describe('PM2', { timeout: 60_000 }, () => {
  it('waits for ready at the start', async () => {
    const { took, url } = await startPm2({ env: { HOLD: '2500' } })
    expect(took).toBeGreaterThan(2_500)
    expect(took).toBeLessThan(LISTEN_TIMEOUT)
    expect((await fetch(url)).status).toBe(200)
  })

  it('contrast: without wait_ready it is done while the service still refuses', async () => {
    const { url } = await startPm2({ env: { HOLD: '60000' }, wait_ready: false })
    const { status } = await eventually(() => fetch(url))
    expect(status).toBe(503)
  })

  it('reloads a cluster worker by worker, each after its successor is ready', async () => {
    const { output, pm2 } = await startPm2({ exec_mode: 'cluster', instances: 2 })
    const lines = () => readFileSync(output, 'utf8').match(/^\d+ (state ready|shutdown)/gm) ?? []
    await eventually(() => expect(lines()).toHaveLength(2))
    await pm2('reload', 'managed')
    await eventually(() => expect(lines()).toHaveLength(6))

    const running = new Set<string>()
    const sizes = lines().map((line) => {
      const [pid = '', what] = line.split(' ')
      if (what === 'state') running.add(pid)
      else running.delete(pid)
      return running.size
    })
    expect(sizes).toHaveLength(6)
    expect(Math.min(...sizes.slice(1))).toBe(2)
  })

  it('drains the service with its shutdown message', async () => {
    // A message that nobody heeds would end with SIGKILL only when the test is over.
    const { pm2, url } = await startPm2({ shutdown_with_message: true, kill_timeout: 120_000 })
    expect((await fetch(url)).status).toBe(200)
    await pm2('stop', 'managed')
    const { stdout } = await pm2('logs', 'managed', '--nostream', '--raw', '--lines', '20')
    expect(stdout).toMatch(/shutdown by PM2\n\d+ state draining: app.close\(\)/)
  })
})
