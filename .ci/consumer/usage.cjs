'use strict'
const assert = require('node:assert/strict')
const Fastify = require('fastify')
const { cancellation } = require('@muster/cancellation')
const { readiness } = require('@muster/readiness')
const registration = require('@muster/registration')

async function main() {
  const app = Fastify()
  await app.register(readiness, { service: 'required' })
  await app.register(registration.default, { url: undefined })
  await app.register(cancellation)
  app.get('/', async (request) => {
    request.cancellation.throwIfCancelled()
    return 'here'
  })
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  await app.readiness.whenReady()
  assert.equal(await (await fetch(origin)).text(), 'here')
  assert.equal(app.registration.state, 'off')
  await app.close()
  console.log('used by require')
}

void main()
