import { eventually, freePort } from '@muster/testkit'
import { expect, it } from 'vitest'
import type { RegistrationChange } from '../src/index.ts'
import { foreignOrchestrator, respond } from './foreign-orchestrator.ts'
import { startService } from './service.ts'

it('registers with several orchestrators, each with a life of its own', async () => {
  const one = await foreignOrchestrator()
  const other = await foreignOrchestrator()
  other.answer(() => respond(401))
  const downPort = await freePort()
  const down = `http://127.0.0.1:${downPort}/v2/services/$register`
  const service = await startService({
    url: [one.url, other.url, down],
    ping: { interval: 60 },
    retry: { min: 50, max: 200 }
  })
  await one.requests('PUT', 3)
  await eventually(() =>
    expect(service.app.registration.orchestrators).toMatchObject([
      { orchestrator: one.url, state: 'registered', failures: 0 },
      { orchestrator: other.url, state: 'rejected', error: expect.stringContaining('401') },
      { orchestrator: down, state: 'registering', error: expect.stringContaining('ECONNREFUSED') }
    ])
  )
  expect(service.app.registration.state).toBe('rejected')
  expect(service.app.readiness.report()).toMatchObject({
    parts: {
      registration: [{ state: 'registered' }, { state: 'rejected' }, { state: 'registering' }]
    }
  })

  const late = await foreignOrchestrator({ port: downPort })
  other.answer(() => undefined)
  await service.state('registered')
  await service.app.close()
  for (const orchestrator of [one, other, late]) {
    expect(orchestrator.received.at(-1)?.method).toBe('DELETE')
    await orchestrator.close()
  }
  expect(service.app.registration.state).toBe('left')
})

it('tells each change of state, and survives a listener that throws', async () => {
  const orchestrator = await foreignOrchestrator()
  const changes: RegistrationChange[] = []
  const service = await startService(orchestrator.url, {
    prepare: (app) =>
      app.addHook('onReady', async () => {
        app.registration.on('change', () => {
          throw new Error('mine')
        })
        app.registration.on('change', (change) => void changes.push(change))
      })
  })
  await service.state('registered')
  await service.app.close()
  await orchestrator.close()
  expect(changes.map(({ previous, state }) => `${previous} > ${state}`)).toEqual([
    'waiting > registering',
    'registering > registered',
    'registered > left'
  ])
  expect(service.said(/a registration listener failed/)).toHaveLength(3)
})
