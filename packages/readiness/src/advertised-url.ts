import type { AddressInfo } from 'node:net'

export interface AdvertisedParts {
  /** Instead of the bound address. */
  host?: string | undefined
  /** Instead of the bound port. */
  port?: number | undefined
}

/**
 * The URL under which others reach what listens on `addresses`. A wildcard address reaches nobody: the host name
 * stands in for it.
 * @param addresses what `app.addresses()` says; a string is a unix socket, which reaches no other machine
 * @returns undefined when no port is known
 */
export function advertisedUrl(
  addresses: (AddressInfo | string)[],
  { tls, hostname }: { tls: boolean; hostname: string },
  given: AdvertisedParts = {}
): string | undefined {
  const bound = addresses.filter((address) => typeof address !== 'string')
  const chosen = bound.find(({ address }) => !isLoopback(address)) ?? bound[0]
  const port = given.port ?? chosen?.port
  if (port === undefined) return undefined
  const host = given.host ?? (chosen && !isWildcard(chosen.address) ? chosen.address : hostname)
  const url = new URL(`${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}`)
  url.port = String(port)
  return url.origin
}

function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::'
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}
