import { v } from '@muster/options'
import { describe, expect, it } from 'vitest'
import { duration, instanceName, OptionError, parseOptions, secret, slug } from '../src/index.ts'

const schema = v.strictObject({
  service: v.optional(slug, 'app'),
  timeout: v.optional(duration, 1_000),
  key: v.optional(secret),
  probe: v.optional(v.union([v.literal(false), v.strictObject({ path: v.string() })]))
})

const parse = (input: unknown) => parseOptions('readiness', schema, input)

describe('parseOptions', () => {
  it('fills in defaults and keeps what was given', () => {
    expect(parse({ timeout: 5 })).toEqual({ service: 'app', timeout: 5 })
  })

  it.each([
    [{ timeout: 'soon' }, 'readiness: option "timeout": expected number but received "soon"'],
    [{ timeout: Infinity }, 'readiness: option "timeout": received Infinity'],
    [{ timeout: 0 }, 'readiness: option "timeout": expected >=1 but received 0'],
    [{ tiemout: 5 }, 'readiness: unknown option "tiemout"'],
    [{ probe: { path: 3 } }, 'readiness: option "probe.path": expected string but received 3'],
    [
      { service: 'Billing API' },
      'readiness: option "service": expected a slug such as "billing-api" but received "Billing API"'
    ],
    ['nonsense', 'readiness: options: expected Object but received "nonsense"']
  ])('says of %j what is wrong with it', (input, message) => {
    expect(() => parse(input)).toThrow(message)
  })

  it('throws a TypeError with the code MUSTER_ERR_OPTION', () => {
    expect(() => parse({ timeout: null })).toThrow(TypeError)
    expect(() => parse({ timeout: null })).toThrow(OptionError)
    expect(() => parse({ timeout: null })).toThrow(
      expect.objectContaining({ code: 'MUSTER_ERR_OPTION' })
    )
  })

  it.each([[{ key: 'two words' }], [{ key: ['hunter2'] }]])(
    'never shows the secret of %j',
    (input) => {
      expect(() => parse(input)).toThrow('value not shown')
      expect(() => parse(input)).not.toThrow(/two words|hunter2/)
    }
  )

  it.each(['a/b', 'a#b', 'a{b}', 'a\nb', '', 'x'.repeat(129)])(
    'refuses %j as an instance name',
    (name) => {
      expect(() => parseOptions('presence', instanceName, name)).toThrow(OptionError)
    }
  )
})
