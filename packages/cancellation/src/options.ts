import { parseOptions } from '@muster/options'
import * as v from 'valibot'

const schema = v.strictObject({})

const route = v.strictObject({
  onShutdown: v.optional(v.picklist(['soft', 'hard', 'never']), 'soft')
})

export function readOptions(input: unknown) {
  return parseOptions('cancellation', schema, input)
}

export type RoutePolicy = v.InferOutput<typeof route>

/** @param name the route, for the message */
export function readRouteOptions(name: string, input: unknown): RoutePolicy {
  return parseOptions(`cancellation of ${name}`, route, input)
}
