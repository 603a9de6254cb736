import fastify from 'fastify'

/** A service that is called back by its orchestrator. */
export function createService() {
  const app = fastify()
  acceptEmptyJson(app)
  app.get('/api/v1/configs', () => [{ name: 'default' }])
  app.delete('/api/v1/configs/:name', (_, reply) => reply.code(204).send())
  return app
}

/** Fastify answers 400 to content-type json without a body, which such callbacks send. */
function acceptEmptyJson(app) {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parse(request, body, done)
  })
}
