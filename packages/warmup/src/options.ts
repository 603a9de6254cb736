import { duration, parseOptions, v } from '@muster/options'
import { type Run, SingleFlight } from './eager.ts'

const task = v.strictObject({
  run: v.custom<Run | SingleFlight<unknown>>(isRun, 'expected a function or an eager()'),
  gate: v.optional(v.union([v.literal('listen'), v.literal('ready'), v.literal(false)]), 'ready'),
  after: v.optional(v.array(v.string()), []),
  timeout: v.optional(duration, 30_000),
  retry: v.optional(
    v.union([
      v.literal(false),
      v.pipe(
        v.strictObject({ min: v.optional(duration, 200), max: v.optional(duration, 5_000) }),
        v.check(
          ({ min, max }) => min <= max,
          ({ input: { min, max } }) => `expected min (${min}) to be no more than max (${max})`
        )
      )
    ]),
    {}
  ),
  dispose: v.optional(v.custom<(value: never) => unknown>((given) => typeof given === 'function'))
})

const schema = v.strictObject({
  tasks: v.record(
    v.pipe(v.string(), v.regex(/^.{1,64}$/)),
    v.pipe(
      v.union([v.function(), v.instance(SingleFlight), v.looseObject({})]),
      v.transform((given) => (isRun(given) ? { run: given } : given)),
      task
    )
  ),
  deadline: v.optional(duration, 60_000),
  warmup: v.optional(v.boolean(), true)
})

const route = v.object({
  warmup: v.array(v.string()),
  warmupWait: v.optional(v.union([v.literal(0), duration]), 2_000)
})

function isRun(given: unknown): boolean {
  return typeof given === 'function' || given instanceof SingleFlight
}

export function readOptions(input: unknown) {
  return parseOptions('warmup', schema, input)
}

/** The part of a route's `config` that is ours. */
export function readRouteConfig(url: string, config: unknown) {
  return parseOptions(`warmup: config of ${url}`, route, config)
}
