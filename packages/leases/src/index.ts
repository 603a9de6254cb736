export type * from './lease-store.ts'
export { memoryLeases } from './memory-leases.ts'
export type {
  IoredisClient,
  LeaseLogger,
  LeaseOptions,
  RedisLeaseOptions,
  RedisSource
} from './options.ts'
export { redisLeases } from './redis-leases.ts'
