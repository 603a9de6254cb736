import { duration, parseOptions, v } from '@muster/options'

const schema = v.strictObject({
  deadlineHeaders: v.optional(v.boolean(), false),
  maxDeadline: v.optional(duration)
})

const route = v.strictObject({
  onShutdown: v.optional(v.picklist(['soft', 'hard', 'never']), 'soft'),
  deadline: v.optional(duration)
})

export function readOptions(input: unknown) {
  return parseOptions('cancellation', schema, input)
}

/** @param name the route, for the message */
export function readRouteOptions(name: string, input: unknown = {}) {
  return parseOptions(`cancellation of ${name}`, route, input)
}
