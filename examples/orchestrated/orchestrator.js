// An orchestrator that calls the service back before it answers the registration, as chap-core does.
import fastify from 'fastify'

/** @param onCallback gets what came of each callback */
export async function startOrchestrator(onCallback) {
  const app = fastify()
  const services = new Map()

  app.post('/v2/services/$register', async (request, reply) => {
    const { id, url } = request.body
    const outcome = await callBack(`${url}/api/v1/configs`)
    onCallback(id, outcome)
    services.set(id, { ...request.body, configs: outcome })
    return reply.code(200).send({
      id,
      status: 'registered',
      service_url: url,
      message: 'Service registered successfully',
      ttl_seconds: 30,
      ping_url: `http://${request.host}/v2/services/${id}/$ping`
    })
  })
  app.put('/v2/services/:id/$ping', async (request, reply) =>
    services.has(request.params.id)
      ? { id: request.params.id, status: 'alive' }
      : reply.code(404).send({ detail: 'Service not found' })
  )
  app.delete('/v2/services/:id', async (request, reply) =>
    reply.code(services.delete(request.params.id) ? 204 : 404).send()
  )
  app.get('/v2/services', async () => ({ count: services.size, services: [...services.values()] }))

  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, url: `http://127.0.0.1:${app.server.address().port}/v2/services/$register` }
}

/** It sends content-type json even without a body, on a DELETE too. */
async function callBack(url) {
  try {
    const answer = await fetch(url, { headers: { 'content-type': 'application/json' } })
    await fetch(`${url}/stale`, {
      method: 'DELETE',
      headers: { 'content-type': 'application/json' }
    }).then((deleted) => deleted.arrayBuffer().then(() => assertOk(deleted)))
    return `answered ${answer.status} with ${(await answer.json()).length} configs`
  } catch (error) {
    return `refused: ${error.cause?.code ?? error.message}`
  }
}

function assertOk({ ok, status }) {
  if (!ok) throw new Error(`DELETE answered ${status}`)
}
