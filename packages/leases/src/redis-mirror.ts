import { memberOf } from './lease-record.ts'
import type { LeaseKey } from './lease-store.ts'
import type { RedisClient } from './redis-connection.ts'

/** One plain key a lease beside the registry, for readers that know no other layout. */
export class RedisMirror {
  readonly #prefix: string
  readonly #seconds: number
  readonly #written = new Map<string, string>()

  constructor(prefix: string, ttl: number) {
    this.#prefix = prefix
    this.#seconds = Math.ceil(ttl / 1_000)
  }

  /** @param json as it is to be read; by default what was written last */
  async write(
    client: RedisClient,
    key: LeaseKey,
    json = this.#written.get(memberOf(key))
  ): Promise<void> {
    if (json === undefined) return
    this.#written.set(memberOf(key), json)
    await client.set(this.#name(key), json, 'EX', this.#seconds)
  }

  async remove(client: RedisClient, key: LeaseKey): Promise<void> {
    this.forget(key)
    await client.del(this.#name(key))
  }

  /** The lease is another's now, and so is the key. */
  forget(key: LeaseKey): void {
    this.#written.delete(memberOf(key))
  }

  #name({ service, id }: LeaseKey): string {
    return `${this.#prefix}${service}:${id}`
  }
}
