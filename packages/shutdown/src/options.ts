import { duration, parseOptions } from '@muster/options'
import * as v from 'valibot'

const span = v.union([v.literal(0), duration])
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const

const schema = v.strictObject({
  drainDelay: v.optional(span),
  grace: v.optional(span),
  closing: v.optional(duration, 3_000),
  signals: v.optional(v.array(v.picklist(signals)), ['SIGTERM', 'SIGINT'])
})

/** Kubernetes removes the endpoint and sends SIGTERM at the same time, and waits 30 s before it kills. */
const ENDPOINT_REMOVAL = 5_000
const DRAIN_AND_GRACE = 25_000

export function readOptions(input: unknown, env: NodeJS.ProcessEnv) {
  const options = parseOptions('shutdown', schema, input)
  const { drainDelay = env['KUBERNETES_SERVICE_HOST'] === undefined ? 0 : ENDPOINT_REMOVAL } =
    options
  const { grace = Math.max(0, DRAIN_AND_GRACE - drainDelay) } = options
  return { ...options, drainDelay, grace }
}
