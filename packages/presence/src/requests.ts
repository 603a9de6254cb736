import type { LeaseKey, LeaseStore } from '@muster/leases'
import { randomBytes } from 'node:crypto'

/** What one instance may ask of another. */
export type RequestName = 'drain'

/** A request is a lease as well, of this service, by the incarnation it is meant for: it goes if nobody honours it. */
const SERVICE = '~requests'

export function isRequests(service: string): boolean {
  return service === SERVICE
}

/** Leaves a request for the start `incarnation` of an instance. */
export async function leaveRequest(
  store: LeaseStore,
  incarnation: string,
  name: RequestName
): Promise<void> {
  const token = randomBytes(8).toString('hex')
  await store.put({ service: SERVICE, id: incarnation, incarnation: token }, { name })
}

/** Takes what was asked of the start that `key` names, if anything was. */
export async function takeRequest(store: LeaseStore, key: LeaseKey): Promise<unknown> {
  const requests = await store.entries(SERVICE)
  const mine = requests.find(({ id }) => id === key.incarnation)
  if (!mine || (await store.remove(mine)) !== 'left') return undefined
  return mine.record['name']
}
