import { Readable, Writable } from 'node:stream'
import { runInNewContext } from 'node:vm'
import { rawRequest } from '@muster/testkit'
import fastify, { type FastifyInstance, type RouteHandlerMethod } from 'fastify'
import { describe, expect, test } from 'vitest'
import cancellation from '../src/index.ts'
import { listen } from './listen.ts'

class Teapot extends Error {
  statusCode = 418
  headers = { 'x-tea': 'earl grey' }
}

const fails: Record<string, RouteHandlerMethod> = {
  'a rejected Error': async () => Promise.reject(new Error('genuine')),
  'a thrown Error': () => {
    throw new Error('genuine')
  },
  'an Error with status and headers': async () => Promise.reject(new Teapot('short and stout')),
  'reply.send(error)': (_, reply) => {
    void reply.send(new Error('sent'))
  },
  'reply.code(409).send(error)': (_, reply) => void reply.code(409).send(new Error('sent')),
  'a string': async () => Promise.reject('no error'),
  'a plain object': () => {
    throw { plain: true, statusCode: 402 }
  },
  null: async () => Promise.reject(null),
  undefined: async () => Promise.reject(undefined),
  'an Error of another realm': () => {
    throw runInNewContext('new Error("foreign")')
  },
  'an AbortError': async () => Promise.reject(new DOMException('of another', 'AbortError')),
  'a stream that fails before its first byte': async () =>
    new Readable({
      read() {
        this.destroy(new Error('stream'))
      }
    }),
  'something that cannot be serialized': async () => ({ n: 1n })
}

type Setup = (app: FastifyInstance, route: (app: FastifyInstance, options?: object) => void) => void

const setups: Record<string, Setup> = {
  "Fastify's own handler": (app, route) => route(app),
  'a handler': (app, route) => {
    app.setErrorHandler((error, _, reply) => reply.code(555).send({ handled: String(error) }))
    route(app)
  },
  'a handler set after the route': (app, route) => {
    route(app)
    app.setErrorHandler((error, _, reply) => reply.code(555).send({ handled: String(error) }))
  },
  'an async handler': (app, route) => {
    app.setErrorHandler(async (error) => ({ handled: String(error) }))
    route(app)
  },
  'a handler that throws again': (app, route) => {
    app.setErrorHandler((error) => {
      throw error
    })
    route(app)
  },
  'a handler that sends the error': (app, route) => {
    app.setErrorHandler((error, _, reply) => reply.code(418).send(error))
    route(app)
  },
  'a child that passes on to its parent': (app, route) => {
    app.setErrorHandler((error, _, reply) => reply.code(555).send({ parent: String(error) }))
    void app.register(async (child) => {
      child.setErrorHandler(async (error) => {
        throw new Error(`child saw ${String(error)}`, { cause: error })
      })
      route(child)
    })
  },
  'a handler on the route': (app, route) => {
    route(app, {
      errorHandler: (error: unknown, _: unknown, reply: { send(payload: unknown): void }) =>
        reply.send({ route: String(error) })
    })
  },
  'a handler on the route that throws again': (app, route) => {
    app.setErrorHandler((error, _, reply) => reply.code(555).send({ parent: String(error) }))
    route(app, {
      errorHandler: (error: unknown) => {
        throw error
      }
    })
  }
}

/** Everything that a failing request shows: the bytes, the hooks and the log. */
async function observe(setup: Setup, handler: RouteHandlerMethod, withPlugin: boolean) {
  const seen: unknown[] = []
  const stream = new Writable({
    write(line, _, done) {
      const { level, msg, err, res, reqId } = JSON.parse(String(line))
      if (reqId) seen.push({ level, msg, err: err?.message, status: res?.statusCode })
      done()
    }
  })
  const app = fastify({ logger: { level: 'info', stream }, genReqId: () => 'id' })
  app.addHook('onError', async (_, __, error) => void seen.push(['onError', String(error)]))
  app.addHook('onSend', async (_, reply, payload) => {
    seen.push(['onSend', reply.statusCode, typeof payload])
  })
  app.addHook('onResponse', async (_, reply) => void seen.push(['onResponse', reply.statusCode]))
  if (withPlugin) await app.register(cancellation)
  setup(app, (instance, options = {}) =>
    instance.route({ method: 'GET', url: '/', handler, ...options })
  )
  const port = await listen(app)
  try {
    const request = 'GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'
    const { headers, ...response } = await rawRequest(port, request)
    const { date: _, ...rest } = headers
    return { response: { ...response, headers: rest }, seen }
  } finally {
    await app.close()
  }
}

describe.each(Object.entries(setups))('with %s', (_, setup) => {
  test.each(Object.entries(fails))('%s is answered as without the plugin', async (__, handler) => {
    const bare = await observe(setup, handler, false)
    const ours = await observe(setup, handler, true)
    expect(ours).toEqual(bare)
  })
})

test('no deprecation or warning comes from the plugin', async () => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  const app = fastify({ allowErrorHandlerOverride: false })
  await app.register(cancellation)
  app.setErrorHandler(() => {})
  await app.ready()
  await app.close()
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
})
