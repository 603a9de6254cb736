import type { AddressInfo } from 'node:net'
import { AdvertiseError } from './errors.ts'

export interface AdvertisedParts {
  host?: string | undefined
  port?: number | undefined
}

/**
 * The URL under which others reach this service. A wildcard address reaches nobody: the host name stands in for it.
 * @param addresses what the service listens on; a string is a unix socket
 * @throws MUSTER_ERR_ADVERTISE when nothing is known to advertise
 */
export function advertisedUrl(
  advertise: string | AdvertisedParts,
  addresses: (AddressInfo | string)[],
  { tls, hostname }: { tls: boolean; hostname: string }
): string {
  if (typeof advertise === 'string') return advertise
  const bound = addresses.filter((address) => typeof address !== 'string')
  const chosen = bound.find(({ address }) => !isLoopback(address)) ?? bound[0]
  const port = advertise.port ?? chosen?.port
  if (port === undefined) throw new AdvertiseError()
  const host = advertise.host ?? (chosen && !isWildcard(chosen.address) ? chosen.address : hostname)
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
