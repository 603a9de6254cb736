import { eventually, freePort, startFixture } from '@muster/testkit'
import { expect, it } from 'vitest'
import { foreignOrchestrator, respond } from './foreign-orchestrator.ts'
import { startService } from './service.ts'

const script = new URL('fixtures/required.js', import.meta.url)

it('required: a process that is not registered in time exits with 1 and the reason', async () => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/services/$register`
  const child = startFixture(script, { env: { MUSTER_ORCHESTRATOR_URL: url } })
  expect(await child.exited).toEqual({ code: 1, signal: null })
  expect(child.output).toMatch(/MUSTER_ERR_NOT_REGISTERED/)
  expect(child.output).toMatch(/within 500 ms: POST .* ECONNREFUSED/)
})

it('required: says what the orchestrator objects to', async () => {
  const orchestrator = await foreignOrchestrator()
  orchestrator.answer(() => respond(422, { detail: 'info.period_type is missing' }))
  const child = startFixture(script, { env: { MUSTER_ORCHESTRATOR_URL: orchestrator.url } })
  expect(await child.exited).toEqual({ code: 1, signal: null })
  expect(child.output).toMatch(/within 500 ms: POST .* answered 422: .*period_type is missing/)
  await orchestrator.close()
})

it('required: once registered, an outage later does not end the process', async () => {
  const port = await freePort()
  const brief = { id: 'b', ttl_seconds: 0.3 }
  let orchestrator = await foreignOrchestrator({ port })
  orchestrator.answer(({ method }) => (method === 'POST' ? respond(200, brief) : undefined))
  const child = startFixture(script, { env: { MUSTER_ORCHESTRATOR_URL: orchestrator.url } })
  await orchestrator.requests('PUT')
  await orchestrator.close()
  const deadline = performance.now() + 500
  await eventually(() => expect(performance.now()).toBeGreaterThan(deadline))
  orchestrator = await foreignOrchestrator({ port })
  await orchestrator.requests('PUT')
  await child.kill()
  await orchestrator.close()
})

it('contrast: without "required" the same process stays up', async () => {
  const port = await freePort()
  const service = await startService(`http://127.0.0.1:${port}/services/$register`)
  await eventually(() => expect(service.app.registration.failures).toBeGreaterThan(1))
  expect(service.app.server.listening).toBe(true)
  await service.app.close()
})
