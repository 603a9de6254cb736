import type { PresenceEvent } from './directory.ts'
import type { Instance } from './instance.ts'

/** Knows the instances of a service and how much each of them is asked for. */
export class Balancer {
  readonly #instances = new Map<string, Instance>()
  readonly #inFlight = new Map<string, number>()
  #change!: Promise<void>
  #changed!: () => void

  constructor() {
    this.#arm()
  }

  /** Keeps up with `events` until they end. */
  async follow(events: AsyncIterable<PresenceEvent>): Promise<void> {
    for await (const event of events) {
      if (event.type === 'snapshot') {
        this.#instances.clear()
        for (const instance of event.instances) this.#instances.set(instance.instanceId, instance)
      } else if (event.type === 'leave' || event.type === 'expire') {
        this.#instances.delete(event.instance.instanceId)
      } else {
        this.#instances.set(event.instance.instanceId, event.instance)
      }
      this.#changed()
      this.#arm()
    }
  }

  /**
   * The less busy of two instances taken at random. Without one that is ready: one that is only suspect, or still
   * answers while it drains.
   * @param tried incarnations that are out of the question
   * @param deadline ms of `performance.now()` until which to wait for one
   */
  async pick(tried: Set<string>, deadline: number): Promise<Instance | undefined> {
    for (;;) {
      const candidates = this.#candidates(tried)
      const one = takeOne(candidates)
      const other = takeOne(candidates) ?? one
      if (one && other) return this.#load(other) < this.#load(one) ? other : one
      const left = deadline - performance.now()
      if (tried.size > 0 || left <= 0) return undefined
      await Promise.race([this.#change, after(left)])
    }
  }

  begin({ incarnation }: Instance): void {
    this.#inFlight.set(incarnation, (this.#inFlight.get(incarnation) ?? 0) + 1)
  }

  end({ incarnation }: Instance): void {
    const left = (this.#inFlight.get(incarnation) ?? 1) - 1
    if (left > 0) this.#inFlight.set(incarnation, left)
    else this.#inFlight.delete(incarnation)
  }

  #candidates(tried: Set<string>): Instance[] {
    const reachable = [...this.#instances.values()].filter(
      ({ url, incarnation }) => url !== undefined && !tried.has(incarnation)
    )
    const tiers = [
      ({ ready }: Instance) => ready,
      ({ status }: Instance) => status === 'ready',
      ({ serving }: Instance) => serving
    ]
    for (const tier of tiers) {
      const found = reachable.filter(tier)
      if (found.length > 0) return found
    }
    return []
  }

  #load({ incarnation }: Instance): number {
    return this.#inFlight.get(incarnation) ?? 0
  }

  #arm(): void {
    this.#change = new Promise((resolve) => (this.#changed = resolve))
  }
}

/** Removes one at random. */
function takeOne(instances: Instance[]): Instance | undefined {
  const [taken] = instances.splice(Math.floor(Math.random() * instances.length), 1)
  return taken
}

function after(delay: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delay))
}
