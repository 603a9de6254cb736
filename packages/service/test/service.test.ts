import { orchestrator } from '@muster/orchestrator'
import { eventually } from '@muster/testkit'
import Fastify from 'fastify'
import { describe, expect, it, onTestFinished } from 'vitest'
import { service, type ServiceOptions } from '../src/index.ts'

async function createService(options: ServiceOptions) {
  const app = Fastify()
  onTestFinished(() => app.close())
  await app.register(service, options)
  return app
}

async function startOrchestrator() {
  const app = Fastify()
  onTestFinished(() => app.close())
  await app.register(orchestrator)
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  const list = async () => (await (await fetch(`${origin}/services`)).json()) as { count: number }
  return { url: `${origin}/services/$register`, list }
}

describe('service', () => {
  it('comes up, is registered and present, and goes down again', async () => {
    const { url, list } = await startOrchestrator()
    const app = await createService({
      service: 'billing',
      version: '2.1.0',
      orchestrator: url,
      presence: { namespace: 'service-test' }
    })
    app.get('/', async ({ cancellation }) => ({ cancelled: cancellation.cancelled }))
    const origin = await app.listen({ port: 0, host: '127.0.0.1' })
    await app.readiness.whenReady()
    expect(await (await fetch(origin)).json()).toEqual({ cancelled: false })
    await eventually(async () =>
      expect(await list()).toMatchObject({ count: 1, services: [{ id: 'billing' }] })
    )
    await eventually(async () => expect(await app.presence.instances('billing')).toHaveLength(1))
    expect(app.readiness.identity).toMatchObject({ service: 'billing', version: '2.1.0' })

    await app.close()
    expect(await list()).toMatchObject({ count: 0 })
    expect(app.shutdown.state).toBe('closed')
  })

  it('is not ready before what it has to make', async () => {
    let finish = (_value: string): void => {}
    const run = () => new Promise<string>((resolve) => (finish = resolve))
    const app = await createService({ orchestrator: false, warmup: { tasks: { model: { run } } } })
    await app.listen({ port: 0, host: '127.0.0.1' })
    await eventually(() =>
      expect(Object.keys(app.readiness.report().waitingFor)).toEqual([
        expect.stringContaining('warmup')
      ])
    )
    finish('loaded')
    await app.readiness.whenReady()
    expect(await app.warmup.get('model')).toBe('loaded')
  })

  it('leaves out what is false, and presence unless it was asked for', async () => {
    const app = await createService({ shutdown: false, cancellation: false, orchestrator: false })
    await app.ready()
    const there = [
      'readiness',
      'shutdown',
      'warmup',
      'cancellation',
      'presence',
      'registration'
    ].filter((name) => app.hasDecorator(name))
    expect(there).toEqual(['readiness'])
  })

  it('gives the signals back when it is closed', async () => {
    const before = process.listenerCount('SIGTERM')
    const app = await createService({})
    expect(process.listenerCount('SIGTERM')).toBe(before + 1)
    await app.close()
    expect(process.listenerCount('SIGTERM')).toBe(before)
  })

  it.each([
    [{ servcie: 'billing' }, 'service: unknown option "servcie"'],
    [{ service: 1 }, 'service: option "service": expected string but received 1'],
    [{ service: 'Not A Slug' }, 'readiness: option "service": expected a slug'],
    [{ shutdown: { grace: -1 } }, 'shutdown: option "grace"'],
    [{ redis: 6379 }, 'service: option "redis": expected a redis:// URL'],
    [{ orchestrator: 8000 }, 'service: option "orchestrator"']
  ])('%j is refused at registration: %s', async (options, message) => {
    const registering = Fastify().register(service, options as object)
    await expect(registering).rejects.toThrow(message)
    await expect(registering).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
  })
})
