import swagger from '@fastify/swagger'
import rateLimit from '@fastify/rate-limit'
import { afterEach, expect, it } from 'vitest'
import type { FastifyInstance } from 'fastify'
import { register, send, startOrchestrator } from './raw-client.ts'

let app: FastifyInstance

afterEach(() => app.close())

it('describes itself where @fastify/swagger is registered', async () => {
  const started = await startOrchestrator({}, (fastify) =>
    fastify.register(swagger, { openapi: { info: { title: 'orchestrator', version: '1' } } })
  )
  app = started.app
  const { paths = {} } = JSON.parse(JSON.stringify(app.swagger()))
  expect(Object.keys(paths).toSorted()).toEqual([
    '/services/',
    '/services/$events',
    '/services/$register',
    '/services/{id}',
    '/services/{id}/$ping',
    '/services/{id}/run/{*}'
  ])
  const { post } = paths['/services/$register']
  expect(post.requestBody.content['application/json'].schema.required).toEqual(['url', 'info'])
  expect(Object.keys(post.responses)).toEqual(['200', '201', '4XX', '5XX'])
  for (const path of Object.values<Record<string, { summary?: string }>>(paths)) {
    for (const operation of Object.values(path)) expect(operation.summary).toBeTruthy()
  }
})

it('is limited in rate by @fastify/rate-limit, with its answer as a problem', async () => {
  const started = await startOrchestrator({}, (fastify) =>
    fastify.register(rateLimit, { max: 2, timeWindow: 60_000 })
  )
  app = started.app
  await register(started.port)
  await register(started.port)
  const third = await register(started.port)
  expect(third.status).toBe(429)
  expect(third.headers['retry-after']).toBeDefined()
  expect(third.headers['content-type']).toMatch(/^application\/problem\+json/)
  expect((await send(started.port, 'GET', '/elsewhere')).status).toBe(404)
})
