import { duration, instanceName, parseOptions, slug, v } from '@muster/options'
import type { Notifier } from './notifier.ts'
import { clusterMember, markerFile, pm2, s6, systemd } from './notify.ts'

const path = v.pipe(v.string(), v.regex(/^\/[\x21-\x7e]*$/))

const check = v.strictObject({
  check: v.function(),
  interval: v.optional(duration, 5_000),
  timeout: v.optional(duration, 1_000),
  failures: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1)), 3),
  critical: v.optional(v.boolean(), true)
})

const routes = v.strictObject({
  live: v.optional(path, '/livez'),
  ready: v.optional(path, '/readyz'),
  startup: v.optional(path, '/startupz')
})

const probe = v.strictObject({ path: v.optional(path), timeout: v.optional(duration, 1_000) })

const limit = v.optional(v.pipe(v.number(), v.minValue(0)), 0)

const pressure = v.strictObject({
  maxEventLoopDelay: limit,
  maxEventLoopUtilization: limit,
  maxHeapUsedBytes: limit,
  maxRssBytes: limit,
  sampleInterval: v.optional(duration, 1_000),
  retryAfter: v.optional(v.pipe(v.number(), v.minValue(1)), 10)
})

const listener = v.strictObject({
  port: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535)),
  host: v.optional(v.string(), 'localhost')
})

const notifier = v.custom<Notifier>(
  (given) => typeof (given as Notifier | null)?.start === 'function',
  ({ received }) => `expected a notifier such as systemd() but received ${received}`
)

const schema = v.pipe(
  v.strictObject({
    service: v.optional(slug),
    instanceId: v.optional(instanceName),
    version: v.optional(v.string()),
    timeout: v.optional(duration, 30_000),
    probe: v.optional(v.union([v.literal(false), v.literal('tcp'), probe]), {}),
    checks: v.optional(
      v.record(
        v.pipe(v.string(), v.regex(/^.{1,64}$/)),
        v.pipe(
          v.union([v.function(), v.looseObject({})]),
          v.transform((given) => (typeof given === 'function' ? { check: given } : given)),
          check
        )
      ),
      {}
    ),
    gate: v.optional(v.union([v.boolean(), v.literal('strict')]), true),
    routes: v.optional(
      v.union([
        v.literal(false),
        v.pipe(
          path,
          v.transform((prefix) => prefixed(prefix.replace(/\/$/, '')))
        ),
        routes
      ]),
      {}
    ),
    listener: v.optional(listener),
    pressure: v.optional(v.union([v.literal(false), pressure])),
    notify: v.optional(v.array(notifier), () => [
      markerFile(),
      systemd(),
      s6(),
      pm2(),
      clusterMember()
    ]),
    onFailed: v.optional(v.picklist(['close', 'stay']), 'close'),
    withdrawTimeout: v.optional(duration, 3_000)
  }),
  v.check(
    ({ listener, routes }) => !listener || routes !== false,
    'option "listener" has nothing to serve where "routes" is false'
  )
)

function prefixed(prefix: string) {
  const { live, ready, startup } = v.getDefaults(routes)
  return { live: prefix + live, ready: prefix + ready, startup: prefix + startup }
}

export function readOptions(input: unknown) {
  return parseOptions('readiness', schema, input)
}
