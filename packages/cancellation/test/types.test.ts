import fastify, { type FastifyInstance, type FastifyTypeProvider } from 'fastify'
import { expect, expectTypeOf, test } from 'vitest'
import cancellation, {
  type Cancellation,
  type CancellationError,
  type CancellationOptions,
  fromShared
} from '../src/index.ts'

/** Stands for any type provider: the type of a body is written in its schema. */
interface Provider extends FastifyTypeProvider {
  validator: this['schema'] extends { of: infer Type } ? Type : unknown
}

const handler = async () => 'done'

test('the types say what there is', async () => {
  const app = fastify()
  await app.register(cancellation, { deadlineHeaders: true, maxDeadline: undefined })
  // @ts-expect-error there is no such option
  const wrong: CancellationOptions = { deadlineHeader: true }
  expect(wrong).toBeDefined()

  app.get('/plain', async (request) => {
    expectTypeOf(request.cancellation).toEqualTypeOf<Cancellation>()
    expectTypeOf(request.cancellation.reason).toEqualTypeOf<CancellationError | undefined>()
    // @ts-expect-error it is read-only
    const assign = () => (request.cancellation.cancelled = true)
    // @ts-expect-error so is the request
    const replace = (other: Cancellation) => (request.cancellation = other)
    return [assign, replace].length
  })

  const config = { cancellation: { onShutdown: 'hard', deadline: 1_000 } } as const
  const typed = app.withTypeProvider<Provider>()
  const schema = {} as { body: { of: { name: string } } }
  typed.post('/typed', { config, schema }, async (request) => {
    expectTypeOf(request.body).toEqualTypeOf<{ name: string }>()
    expectTypeOf(request.cancellation).toEqualTypeOf<Cancellation>()
    return request.cancellation.race(Promise.resolve(request.body.name))
  })

  const refused = (on: FastifyInstance) =>
    // @ts-expect-error there is no such phase
    on.get('/refused', { config: { cancellation: { onShutdown: 'later' } } }, handler)
  expect(() => refused(app)).toThrow('onShutdown')
  await app.close()
})

test('onCancel() goes with `using`', async () => {
  const app = fastify({ genReqId: () => 'the-id' })
  await app.register(cancellation)
  const told: string[] = []
  app.get('/', async (request) => {
    {
      using _watching = request.cancellation.onCancel(() => told.push('inside'))
    }
    using _watching = request.cancellation.onCancel(() => told.push('outside'))
    app.cancellation.cancel('the-id', 'stop')
    return 'done'
  })
  await app.inject('/')
  expect(told).toEqual(['outside'])
  await app.close()
})

test('a worker gets the same interface', () => {
  expectTypeOf(fromShared).returns.toEqualTypeOf<Cancellation>()
})
