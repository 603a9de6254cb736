import { parseOptions, v } from '@muster/options'

// What is inside each part is checked by the plugin that gets it.
const part = v.looseObject({})

const schema = v.strictObject({
  service: v.optional(v.string()),
  instanceId: v.optional(v.string()),
  version: v.optional(v.string()),
  readiness: v.optional(part, {}),
  shutdown: v.optional(v.union([v.literal(false), part]), {}),
  warmup: v.optional(part),
  cancellation: v.optional(v.union([v.literal(false), part]), {}),
  orchestrator: v.optional(v.union([v.literal(false), v.string(), v.instance(URL), part]), {}),
  redis: v.optional(
    v.union(
      [v.string(), part],
      'expected a redis:// URL, ioredis options or a client (value not shown)'
    )
  ),
  presence: v.optional(v.union([v.literal(false), part]))
})

export function readOptions(input: unknown): void {
  parseOptions('service', schema, input)
}
