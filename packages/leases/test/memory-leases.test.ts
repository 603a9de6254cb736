import { memoryLeases } from '@muster/leases'
import { describe, expect, it } from 'vitest'
import { leaseStoreContract } from './lease-store-contract.ts'

leaseStoreContract('memory', memoryLeases)

describe('memoryLeases', () => {
  it.each([
    [{}, /ttl/],
    [{ ttl: 0 }, /ttl/],
    [{ ttl: Infinity }, /ttl/],
    [{ ttl: 1_000, namespace: 'a{b}' }, /namespace.*a\{b\}/],
    [{ ttl: 1_000, expiryShare: 2 }, /expiryShare.*2/],
    [{ ttl: 1_000, tll: 1 }, /unknown option "tll"/]
  ])('says which option of %j is wrong', (options, message) => {
    expect(() => memoryLeases(options as never)).toThrow(message)
    expect(() => memoryLeases(options as never)).toThrow(
      expect.objectContaining({ code: 'MUSTER_ERR_OPTION' })
    )
  })
})
