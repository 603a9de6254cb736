import Fastify from 'fastify'
import readiness from '@muster/readiness'
import { afterEach, describe, expect, expectTypeOf, it, vi } from 'vitest'
import registration, {
  type Registration,
  type RegistrationOptions,
  type RegistrationState
} from '../src/index.ts'
import { foreignOrchestrator, type ForeignOrchestrator } from './foreign-orchestrator.ts'
import { type Service, startService } from './service.ts'

afterEach(() => vi.unstubAllEnvs())

async function refusal(options: unknown): Promise<Error & { code?: string }> {
  const app = Fastify()
  app.register(registration, options as RegistrationOptions)
  return app.ready().then(
    () => new Error('it was accepted'),
    (error) => error
  )
}

const circular: Record<string, unknown> = {}
circular['self'] = circular

describe('bad options', () => {
  it.each([
    ['not a url', /option "url": expected a URL with http: or https: but received "not a url"/],
    ['ftp://orchestrator/$register', /option "url": expected .* received "ftp:/],
    [{ url: 'http://' }, /option "url"/],
    [{ url: 7 }, /option "url"/],
    [{ url: [], nope: 1 }, /unknown option "nope"/],
    [{ url: ['http://a/$register', 'b'] }, /option "url.1": .* received "b"/],
    [{ service: 'Billing API' }, /option "service": expected a slug/],
    [{ advertise: 'billing:8080' }, /option "advertise"/],
    [{ advertise: { port: 0 } }, /option "advertise.port"/],
    [{ info: 'text' }, /option "info"/],
    [{ info: { around: circular } }, /option "info": expected what JSON can express/],
    [{ timeout: 0 }, /option "timeout": .*received 0/],
    [{ timeout: Number.NaN }, /option "timeout": .*received NaN/],
    [{ retry: { min: 100, max: 10 } }, /option "retry": expected min to be at most max/],
    [{ ping: { interval: -1 } }, /option "ping.interval": .*received -1/],
    [{ required: 'yes' }, /option "required"/],
    [{ headers: { 'x-a': 1 } }, /option "headers.x-a"/],
    [{ headers: { 'x a': '1' } }, /option "headers.x a"/]
  ])('%o', async (options, message) => {
    const error = await refusal(options)
    expect(error).toBeInstanceOf(TypeError)
    expect(error.code).toBe('MUSTER_ERR_OPTION')
    expect(error.message).toMatch(/^registration: /)
    expect(error.message).toMatch(message)
  })

  it.each([
    { key: 'two\nlines-secret' },
    { key: 12345678 },
    { headers: { authorization: 'Bearer\nsecret' } },
    { headers: { authorization: 12345678 } },
    { url: 'http://me:my-secret@host:99999/' },
    { url: 'me:my-secret@host' },
    { url: 'http//host?token=my-secret' }
  ])('shows no secret of %j', async (options) => {
    const { code, message } = await refusal(options)
    expect(code).toBe('MUSTER_ERR_OPTION')
    expect(message).not.toMatch(/secret|12345678/)
  })

  it('names the variable that is wrong', async () => {
    vi.stubEnv('MUSTER_PORT', 'eighty')
    expect((await refusal({ url: 'http://a/$register' })).message).toMatch(/option "MUSTER_PORT"/)
    vi.stubEnv('SERVICEKIT_ORCHESTRATOR_URL', 'orchestrator')
    expect((await refusal({})).message).toMatch(/option "SERVICEKIT_ORCHESTRATOR_URL"/)
  })

  it('is registered once', async () => {
    const app = Fastify()
    await app.register(registration)
    app.register(registration)
    await expect(app.ready()).rejects.toMatchObject({ code: 'MUSTER_ERR_OPTION' })
  })
})

describe('off', () => {
  it.each([undefined, '', null, {}, { url: '' }, { url: null }])(
    'is what %j means',
    async (options) => {
      const service = await startService(options as RegistrationOptions)
      const { app } = service
      expect(app.registration.state).toBe('off')
      expect(app.registration.orchestrators).toEqual([])
      expect(app.registration.failures).toBe(0)
      expect(service.said(/registration is off/)).toHaveLength(1)
      await app.close()
    }
  )
})

describe('where things come from', () => {
  let orchestrator: ForeignOrchestrator
  let service: Service

  afterEach(async () => {
    await service.app.close()
    await orchestrator.close()
  })

  async function announced(): Promise<{ id: string; url: string; key: string | undefined }> {
    const [post] = await orchestrator.requests('POST')
    const { id, url } = JSON.parse(post?.body ?? '{}')
    return { id, url, key: post?.headers['x-service-key'] }
  }

  it('the environment, where no option says so', async () => {
    orchestrator = await foreignOrchestrator()
    vi.stubEnv('MUSTER_ORCHESTRATOR_URL', orchestrator.url)
    vi.stubEnv('MUSTER_HOST', 'billing.internal')
    vi.stubEnv('MUSTER_PORT', '18701')
    vi.stubEnv('MUSTER_REGISTRATION_KEY', 'from-env')
    vi.stubEnv('SERVICEKIT_PORT', '1')
    service = await startService({})
    expect(await announced()).toMatchObject({
      url: 'http://billing.internal:18701',
      key: 'from-env'
    })
  })

  it("servicekit's names of the same", async () => {
    orchestrator = await foreignOrchestrator()
    vi.stubEnv('SERVICEKIT_ORCHESTRATOR_URL', orchestrator.url)
    vi.stubEnv('SERVICEKIT_HOST', 'billing.internal')
    vi.stubEnv('SERVICEKIT_PORT', '18701')
    vi.stubEnv('SERVICEKIT_REGISTRATION_KEY', 'from-env')
    service = await startService({})
    expect(await announced()).toMatchObject({
      url: 'http://billing.internal:18701',
      key: 'from-env'
    })
  })

  it('the options before the environment', async () => {
    orchestrator = await foreignOrchestrator()
    vi.stubEnv('MUSTER_ORCHESTRATOR_URL', 'http://127.0.0.1:1/$register')
    vi.stubEnv('MUSTER_HOST', 'elsewhere')
    vi.stubEnv('MUSTER_REGISTRATION_KEY', 'from-env')
    service = await startService({
      url: orchestrator.url,
      key: 'from-option',
      advertise: { host: 'billing', port: 80 }
    })
    expect(await announced()).toMatchObject({ url: 'http://billing', key: 'from-option' })
  })

  it('a complete advertised URL as it is', async () => {
    orchestrator = await foreignOrchestrator()
    const advertise = 'https://billing.example:8443/base'
    service = await startService({ url: orchestrator.url, advertise })
    expect((await announced()).url).toBe(advertise)
  })

  it('the name that readiness was given', async () => {
    orchestrator = await foreignOrchestrator()
    service = await startService(orchestrator.url, {
      prepare: (app) => app.register(readiness, { service: 'from-readiness' })
    })
    expect((await announced()).id).toBe('from-readiness')
  })

  it('a URL object, whose user and password go as authorization and nowhere else', async () => {
    orchestrator = await foreignOrchestrator()
    const url = new URL(orchestrator.url)
    url.username = 'me'
    url.password = 'my-p@ss'
    service = await startService(url)
    await service.state('registered')
    const [post] = await orchestrator.requests('POST')
    const basic = Buffer.from('me:my-p@ss').toString('base64')
    expect(post?.headers['authorization']).toBe(`Basic ${basic}`)
    await service.app.close()
    const [left] = await orchestrator.requests('DELETE')
    expect(left?.headers['authorization']).toBe(`Basic ${basic}`)
    expect(JSON.stringify(service.lines)).not.toMatch(/my-p/)
    expect(JSON.stringify(service.app.readiness.report())).not.toMatch(/my-p/)
  })

  it('a URL without $register, with a warning', async () => {
    orchestrator = await foreignOrchestrator()
    service = await startService(orchestrator.url.replace('$register', ''))
    const [post] = await orchestrator.requests('POST')
    expect(post?.path).toBe('/v2/services/')
    expect(service.said(/does not end in \/\$register/)).toHaveLength(1)
    await service.state('registered')
  })
})

it('types say what is allowed', () => {
  const app = Fastify()
  void (() => {
    app.register(registration)
    app.register(registration, 'http://orchestrator:8000/services/$register')
    app.register(registration, new URL('http://orchestrator:8000/services/$register'))
    app.register(registration, { url: ['http://a/$register', new URL('http://b/$register')] })
    // @ts-expect-error unknown option
    app.register(registration, { urls: 'http://a' })
    // @ts-expect-error wrong type
    app.register(registration, { timeout: '15s' })
    // @ts-expect-error wrong type
    app.register(registration, 7)
  })
  expectTypeOf(app.registration).toEqualTypeOf<Registration>()
  expectTypeOf<RegistrationState>().toEqualTypeOf<
    'off' | 'waiting' | 'registering' | 'registered' | 'lost' | 'rejected' | 'left'
  >()
})
