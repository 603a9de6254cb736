import type { AddressInfo } from 'node:net'

/**
 * The URL under which others reach this instance: a wildcard address reaches nobody, the host name stands in for it.
 * @param addresses what the service listens on; a string is a unix socket, which reaches no other machine
 */
export function advertisedUrl(
  addresses: (AddressInfo | string)[],
  tls: boolean,
  hostname: string
): string | undefined {
  const bound = addresses.filter((address) => typeof address !== 'string')
  const chosen = bound.find(({ address }) => !isLoopback(address)) ?? bound[0]
  if (!chosen) return undefined
  const { address, port } = chosen
  const host = address === '0.0.0.0' || address === '::' ? hostname : address
  return `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}
