import { request } from 'node:http'
import { json } from 'node:stream/consumers'
import { freePort } from '@muster/testkit'
import Fastify from 'fastify'
import { expect, it } from 'vitest'
import { foreignOrchestrator, respond } from './foreign-orchestrator.ts'
import { startService } from './service.ts'

/** Calls the service back inside the register request, as chap-core does, before it answers. */
async function callingBack() {
  const callbacks: string[] = []
  const orchestrator = await foreignOrchestrator()
  orchestrator.answer(async ({ method, body }) => {
    if (method !== 'POST') return undefined
    const { url } = JSON.parse(body)
    const outcome = await get(`${url}/api/v1/configs`)
    callbacks.push(outcome)
    return respond(200, { id: 'billing', message: outcome })
  })
  return { orchestrator, callbacks }
}

function get(url: string): Promise<string> {
  return new Promise((resolve) => {
    const call = request(url, { agent: false }, (response) => {
      void json(response).then((body) => resolve(`${response.statusCode} ${JSON.stringify(body)}`))
    })
    call.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    call.end()
  })
}

it('contrast: registering in onReady, every callback is refused', async () => {
  const { orchestrator, callbacks } = await callingBack()
  const port = await freePort()
  const app = Fastify()
  app.get('/api/v1/configs', () => [{ name: 'default' }])
  app.addHook('onReady', async () => {
    const body = JSON.stringify({ id: 'billing', url: `http://127.0.0.1:${port}`, info: {} })
    await fetch(orchestrator.url, { method: 'POST', body })
  })
  await app.listen({ port, host: '127.0.0.1' })
  await app.close()
  await orchestrator.close()
  expect(callbacks).toEqual(['ECONNREFUSED'])
})

it('registers when it can answer: the callback inside the register request gets its data', async () => {
  const { orchestrator, callbacks } = await callingBack()
  for (let round = 0; round < 20; round++) {
    const service = await startService(orchestrator.url)
    await service.state('registered')
    await service.app.close()
  }
  await orchestrator.close()
  expect(callbacks).toEqual(Array(20).fill('200 [{"name":"default"}]'))
})

it('registers only after the last hold is released', async () => {
  const { orchestrator, callbacks } = await callingBack()
  let release: (() => void) | undefined
  const service = await startService(orchestrator.url, {
    prepare: (app) =>
      app.addHook('onReady', async () => {
        const hold = app.readiness.hold('migrations')
        release = () => hold.release()
      })
  })
  await service.app.inject('/')
  expect(service.app.registration.state).toBe('waiting')
  expect(orchestrator.received).toEqual([])
  release?.()
  await service.state('registered')
  expect(callbacks).toEqual(['200 [{"name":"default"}]'])
  await service.app.close()
  await orchestrator.close()
})
