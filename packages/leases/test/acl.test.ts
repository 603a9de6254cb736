import { readFileSync } from 'node:fs'
import { redisLeases } from '@muster/leases'
import { eventually, startRedis } from '@muster/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { watch } from './watching.ts'

it('the ACL rules of the README are enough, and with a mirror those of the mirror', async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const [, rules = ''] = /`(~muster:\* [^`]*)`/.exec(readme) ?? []
  const server = await startRedis()
  onTestFinished(() => server.close())
  const reply = await server.command(`ACL SETUSER muster on >secret ${rules} ~mirror:* +set`)
  expect(reply).toContain('+OK')
  const warnings: string[] = []
  const leases = redisLeases({
    redis: server.url.replace('//', '//muster:secret@'),
    ttl: 400,
    mirror: 'mirror:',
    logger: { info() {}, warn: (message) => void warnings.push(message) }
  })
  onTestFinished(() => leases.close())
  const key = { service: 'billing', id: 'a', incarnation: 'one' }
  const watched = watch(leases)
  expect(await leases.put(key, {})).toBe('join')
  expect(await leases.renew(key)).toBe('ok')
  expect(await leases.list('billing')).toHaveLength(1)
  expect(await leases.services()).toEqual(['billing'])
  expect(await server.command('GET mirror:billing:a')).toContain('{}')
  await leases.put({ ...key, id: 'b' }, {})
  expect(await leases.remove(key)).toBe('left')
  await watched.until((events) => events.some(({ type }) => type === 'expire'))
  await eventually(async () => expect(await leases.services()).toEqual([]))
  expect(warnings).toEqual([])
  expect(await server.command('ACL LOG')).toBe('*0\r\n')
})
