import type { LeaseEvent, LeaseStore } from '@muster/leases'
import { eventually } from '@muster/testkit'

export interface Watched {
  events: LeaseEvent[]
  ended: Promise<void>
  until(condition: (events: LeaseEvent[]) => boolean, deadline?: number): Promise<void>
}

/** Collects what a store tells. */
export function watch(of: LeaseStore, service?: string, signal?: AbortSignal): Watched {
  const events: LeaseEvent[] = []
  const ended = (async () => {
    for await (const event of of.watch(service, { signal })) events.push(event)
  })()
  return {
    events,
    ended,
    until: (condition, deadline = 5_000) =>
      eventually(
        () => {
          if (!condition(events)) throw new Error(`not yet: ${JSON.stringify(events)}`)
        },
        { deadline }
      )
  }
}
