import { duration, instanceName, parseOptions, secret, slug, v } from '@muster/options'

const httpUrl = v.pipe(
  v.custom<string | URL>(
    (value) => typeof value === 'string' || value instanceof URL,
    ({ received }) => `expected a URL but received ${received}`
  ),
  v.transform(String),
  v.check(
    (text) => URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol),
    ({ input }) => `expected a URL with http: or https: but received "${redact(input)}"`
  ),
  v.transform((text) => new URL(text))
)
const oneUrl = v.pipe(
  httpUrl,
  v.transform((url) => [url])
)
const completeUrl = v.pipe(
  httpUrl,
  v.transform(({ href }) => href.replace(/\/$/, ''))
)
/** Whatever is before an @ may be a password, even where the text is no URL. */
function redact(text: string): string {
  return text.replace(/^([^/]*\/\/)?.*@/s, '$1***@').replace(/\?.*$/s, '?***')
}

const host = v.pipe(v.string(), v.regex(/^[^\s/@?#[\]]+$/))
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))

const headerName = v.pipe(v.string(), v.regex(/^[\w!#$%&'*+.^`|~-]+$/))
const headerValue = v.pipe(
  v.custom<string>((value) => typeof value === 'string', 'expected a string (value not shown)'),
  v.regex(/^[\t\x20-\x7e]*$/, 'expected ASCII without line breaks (value not shown)')
)

const urlParts = v.strictObject({ host: v.optional(host), port: v.optional(port) })

const info = v.pipe(
  v.record(v.string(), v.unknown()),
  v.check((value) => isJson(value), 'expected what JSON can express')
)
function isJson(value: unknown): boolean {
  try {
    return JSON.stringify(value) !== undefined
  } catch {
    return false
  }
}

const retry = v.pipe(
  v.strictObject({ min: v.optional(duration, 500), max: v.optional(duration, 30_000) }),
  v.check(({ min, max }) => min <= max, 'expected min to be at most max')
)

const schema = v.strictObject({
  url: v.nullish(v.lazy((given) => (Array.isArray(given) ? v.array(httpUrl) : oneUrl))),
  service: v.optional(slug),
  instanceId: v.optional(instanceName),
  advertise: v.optional(
    v.lazy((given) =>
      typeof given === 'object' && !(given instanceof URL) ? urlParts : completeUrl
    ),
    {}
  ),
  info: v.optional(v.union([v.function(), info]), {}),
  key: v.optional(secret),
  headers: v.optional(v.record(headerName, headerValue), {}),
  ping: v.optional(
    v.strictObject({
      url: v.optional(httpUrl),
      interval: v.optional(duration),
      timeout: v.optional(duration)
    }),
    {}
  ),
  timeout: v.optional(duration, 15_000),
  retry: v.optional(retry, {}),
  required: v.optional(
    v.union([v.boolean(), v.strictObject({ within: v.optional(duration, 30_000) })]),
    false
  ),
  deregister: v.optional(v.boolean(), true),
  ca: v.optional(v.union([v.string(), v.instance(Buffer)]))
})

/** Option over environment over default. */
export function readOptions(input: unknown) {
  const given = typeof input === 'string' || input instanceof URL ? { url: input } : input
  const { url, advertise, key, required, ...options } = parseOptions(
    'registration',
    schema,
    withoutEmptyUrl(given)
  )
  return {
    ...options,
    urls:
      url ?? [fromEnvironment('ORCHESTRATOR_URL', httpUrl)].filter((found) => found !== undefined),
    advertise:
      typeof advertise === 'string'
        ? advertise
        : {
            host: advertise.host ?? fromEnvironment('HOST', host),
            port: advertise.port ?? fromEnvironment('PORT', v.pipe(v.string(), v.toNumber(), port))
          },
    key: key ?? fromEnvironment('REGISTRATION_KEY', secret),
    required: required === true ? { within: 30_000 } : required
  }
}

/** So that `{ url: process.env.SOMETHING ?? '' }` is off rather than wrong. */
function withoutEmptyUrl(given: unknown): unknown {
  return typeof given === 'object' && given !== null && 'url' in given && given.url === ''
    ? { ...given, url: undefined }
    : given
}

/** servicekit's names are read as well, for those who move. */
function fromEnvironment<Schema extends v.GenericSchema>(
  name: string,
  schema: Schema
): v.InferOutput<Schema> | undefined {
  const variable = [`MUSTER_${name}`, `SERVICEKIT_${name}`].find((each) => process.env[each])
  if (variable === undefined) return undefined
  return parseOptions('registration', v.object({ [variable]: schema }), process.env)[variable]
}
