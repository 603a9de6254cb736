import { expect, it } from 'vitest'
import { advertisedUrl } from '../src/index.ts'

const here = { tls: false, hostname: 'box-7' }
const at = (address: string, port = 8080) => ({
  address,
  port,
  family: address.includes(':') ? 'IPv6' : 'IPv4'
})

it.each([
  ['a bound address', [at('10.0.0.7')], 'http://10.0.0.7:8080'],
  ['the host name for 0.0.0.0', [at('0.0.0.0')], 'http://box-7:8080'],
  ['the host name for ::', [at('::')], 'http://box-7:8080'],
  ['IPv6 in brackets', [at('fd00::7')], 'http://[fd00::7]:8080'],
  [
    'what is not loopback before what is',
    [at('127.0.0.1'), at('10.0.0.7')],
    'http://10.0.0.7:8080'
  ],
  ['loopback where there is nothing else', [at('127.0.0.1'), at('::1')], 'http://127.0.0.1:8080'],
  ['TCP before a unix socket', ['/run/x.sock', at('10.0.0.7')], 'http://10.0.0.7:8080']
])('advertises %s', (_, addresses, url) => {
  expect(advertisedUrl(addresses, here)).toBe(url)
})

it('advertises parts that are given over what is bound', () => {
  const addresses = [at('0.0.0.0')]
  expect(advertisedUrl(addresses, here, { port: 18701 })).toBe('http://box-7:18701')
  expect(advertisedUrl(addresses, here, { host: 'billing' })).toBe('http://billing:8080')
  expect(advertisedUrl(['/run/x'], { ...here, tls: true }, { host: '::1', port: 1 })).toBe(
    'https://[::1]:1'
  )
})

it('has nothing to advertise on a unix socket alone', () => {
  expect(advertisedUrl(['/run/x.sock'], here)).toBeUndefined()
})
