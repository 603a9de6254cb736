import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { redisLeases } from '@muster/leases'
import { freePort, startRedis } from '@muster/testkit'
import { expect, it, onTestFinished } from 'vitest'

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))

it('speaks TLS, and not with a server whose certificate it does not trust', async () => {
  const port = await freePort()
  const [cert, key] = [fixture('redis-cert.pem'), fixture('redis-key.pem')]
  const tls = `--tls-port ${port} --tls-cert-file ${cert} --tls-key-file ${key} --tls-auth-clients no`
  const server = await startRedis({ args: tls.split(' ') })
  onTestFinished(() => server.close())
  const lease = { service: 'billing', id: 'a', incarnation: 'one' }

  const trusting = redisLeases({
    redis: { host: '127.0.0.1', port, tls: { ca: readFileSync(cert) } },
    ttl: 5_000
  })
  onTestFinished(() => trusting.close())
  expect(await trusting.put(lease, {})).toBe('join')
  const events = trusting.watch('billing')
  expect((await events.next()).value).toMatchObject({ type: 'snapshot', leases: [{ id: 'a' }] })

  const strict = redisLeases({ redis: `rediss://127.0.0.1:${port}`, ttl: 5_000 })
  onTestFinished(() => strict.close())
  await expect(strict.put(lease, {})).rejects.toMatchObject({
    code: 'MUSTER_ERR_STORE_UNAVAILABLE',
    message: expect.stringContaining('self-signed certificate')
  })
})
