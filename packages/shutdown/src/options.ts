import { duration, parseOptions, v } from '@muster/options'

const span = v.union([v.literal(0), duration])
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const

const schema = v.strictObject({
  drainDelay: v.optional(span),
  grace: v.optional(span),
  closing: v.optional(duration, 3_000),
  signals: v.optional(v.array(v.picklist(signals)), ['SIGTERM', 'SIGINT'])
})

const primary = v.strictObject({
  budget: v.optional(duration, 30_000),
  signals: v.optional(v.array(v.picklist(signals)), ['SIGTERM', 'SIGINT'])
})

export function readPrimaryOptions(input: unknown) {
  return parseOptions('clusterPrimary', primary, input)
}

/** Kubernetes removes the endpoint and sends SIGTERM at the same time, and waits 30 s before it kills. */
const ENDPOINT_REMOVAL = 5_000
const DRAIN_AND_GRACE = 25_000

export function readOptions(input: unknown, env: NodeJS.ProcessEnv) {
  const options = parseOptions('shutdown', schema, input)
  const { drainDelay = env['KUBERNETES_SERVICE_HOST'] === undefined ? 0 : ENDPOINT_REMOVAL } =
    options
  const { grace = Math.max(0, DRAIN_AND_GRACE - drainDelay) } = options
  return { ...options, drainDelay, grace, platformLimit: platformLimit(env) }
}

/**
 * ms that the platform waits between the signal and the kill, where it is known: `TERMINATION_GRACE_PERIOD` in seconds,
 * set by the manifest or unit, or PM2's `kill_timeout` in ms.
 */
function platformLimit(env: NodeJS.ProcessEnv): number {
  const seconds = Number(env['TERMINATION_GRACE_PERIOD'])
  if (seconds > 0) return seconds * 1_000
  const ms = env['pm_id'] === undefined ? NaN : Number(env['kill_timeout'])
  return ms > 0 ? ms : Infinity
}
