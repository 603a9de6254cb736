import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eventually, rawConnection, startFixture, startRedis } from '../src/index.ts'

describe('startRedis', () => {
  it('starts a server that can be killed and comes back with its data, or empty', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.close())
    await redis.command('SET key value')
    await redis.restart()
    expect(await redis.command('GET key')).toContain('value')
    await redis.kill()
    await expect(redis.command('PING')).rejects.toThrow('ECONNREFUSED')
    await redis.restart({ empty: true })
    expect(await redis.command('GET key')).toBe('$-1\r\n')
  })

  it('pauses: connections are taken and nothing answers', async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.close())
    redis.pause()
    await expect(redis.command('PING')).rejects.toThrow('did not answer')
    redis.resume()
    expect(await redis.command('PING')).toBe('+PONG\r\n')
  })
})

describe('startFixture', () => {
  it('captures output and exit code', async () => {
    const fixture = startFixture(new URL('fixtures/talks.js', import.meta.url), { args: ['7'] })
    await fixture.waitFor(/to stderr/)
    expect(await fixture.exited).toEqual({ code: 7, signal: null })
    expect(fixture.output).toContain('to stdout')
    await expect(fixture.waitFor(/never said/)).rejects.toThrow('ended without')
  })
})

describe('rawConnection', () => {
  it('reads responses of every framing, one after the other', async () => {
    const server = createServer((request, response) => {
      if (request.url === '/empty') response.writeHead(204)
      if (request.url === '/chunked') response.write('one ')
      response.end(request.url === '/empty' ? undefined : 'two')
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await eventually(() => expect(server.listening).toBe(true))
    const connection = await rawConnection((server.address() as AddressInfo).port)
    for (const [path, status, body] of [
      ['/sized', 200, 'two'],
      ['/chunked', 200, 'one two'],
      ['/empty', 204, '']
    ]) {
      connection.write(`GET ${path} HTTP/1.1\r\nhost: test\r\n\r\n`)
      expect(await connection.response()).toMatchObject({ status, body })
    }
    connection.destroy()
  })
})
