import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import { registration } from '../src/index.ts'

it('is rejected, saying what is missing, where a unix socket is all there is to advertise', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'muster-'))
  const app = Fastify()
  onTestFinished(async () => {
    await app.close()
    await rm(directory, { recursive: true })
  })
  await app.register(registration, 'http://127.0.0.1:9/services/$register')
  await app.listen({ path: join(directory, 'socket') })
  await expect.poll(() => app.registration.state).toBe('rejected')
  expect(app.registration.orchestrators[0]?.error).toContain('option "advertise": needed')
})
