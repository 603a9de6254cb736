import createError from '@fastify/error'
import * as v from './schema.ts'

/** What the schemas are made of. */
export * as v from './schema.ts'

/** An option is wrong: names it, shows the value received, says what is allowed. Thrown at registration. */
export const OptionError = createError<[string]>('MUSTER_ERR_OPTION', '%s', 500, TypeError)

/** Milliseconds that a Node timer can wait. */
export const duration = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 31 - 1))

/** A service's name: safe in URLs, keys and file names. */
export const slug = v.pipe(
  v.string(),
  v.maxLength(128),
  v.regex(
    /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/,
    ({ received }) => `expected a slug such as "billing-api" but received ${received}`
  )
)

/** An instance's name: what a registry can take as a part of a key. */
export const instanceName = v.pipe(
  v.string(),
  v.regex(
    /^[^/#{}\p{Cc}]{1,128}$/u,
    ({ received }) =>
      `expected 1 to 128 characters without / # { } and control characters but received ${received}`
  )
)

/** Text that never appears in an error. */
export const secret = v.pipe(
  v.custom<string>((value) => typeof value === 'string', 'expected a string (value not shown)'),
  v.regex(/^[\x21-\x7e]+$/, 'expected visible ASCII characters (value not shown)')
)

/**
 * Checks `input` against `schema` and fills in defaults.
 * @param owner whose options they are, for the message
 * @throws {OptionError} for the first thing that is wrong
 */
export function parseOptions<Schema extends v.GenericSchema>(
  owner: string,
  schema: Schema,
  input: unknown
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, input)
  if (result.success) return result.output
  throw new OptionError(`${owner}: ${describe(result.issues[0], [])}`)
}

/** Of a union that failed, the branch that went deepest is the one that was meant. */
function describe(issue: v.BaseIssue<unknown>, above: string[]): string {
  const path = [...above, ...(issue.path ?? []).map(({ key }) => String(key))]
  const meant = issue.issues?.find((inner) => inner.path)
  if (meant) return describe(meant, path)
  if (issue.expected === 'never') return `unknown option "${path.join('.')}"`
  const subject = path.length > 0 ? `option "${path.join('.')}"` : 'options'
  return `${subject}: ${issue.message.replace(/^Invalid \w+: (.)/, (_, first) => first.toLowerCase())}`
}
