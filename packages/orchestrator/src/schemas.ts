const SLUG = '^[a-z][a-z0-9]*(-[a-z0-9]+)*$'
const INSTANCE = '^[^/#{}\\u0000-\\u001f\\u007f-\\u009f]+$'
const TOKEN = '^[A-Za-z0-9._-]+$'

const id = { type: 'string', pattern: SLUG, maxLength: 128 }
const instance_id = { type: 'string', pattern: INSTANCE, maxLength: 128 }
const incarnation = { type: 'string', pattern: TOKEN, maxLength: 128 }
const time = { type: 'string', format: 'date-time' }

const registration = {
  type: 'object',
  required: ['url', 'info'],
  properties: {
    id: { ...id, description: 'Names the service; `info.id` where it is absent' },
    url: { type: 'string', maxLength: 2048, pattern: '^https?://[^\\s]+$' },
    info: { type: 'object', additionalProperties: true, properties: { id } },
    instance_id: { ...instance_id, description: 'Names the replica; the id where it is absent' },
    incarnation: { ...incarnation, description: 'A random token of this start of the replica' }
  },
  additionalProperties: true
}

const params = { type: 'object', properties: { id } }

const member = {
  type: 'object',
  properties: { instance_id, incarnation }
}

const filter = {
  type: 'object',
  properties: {
    status: { type: 'string', enum: ['alive', 'suspect'] },
    after: { type: 'string', maxLength: 128, description: 'Start after this id' },
    limit: { type: 'integer', minimum: 1, maximum: 1000, default: 1000 }
  }
}

const instance = {
  type: 'object',
  properties: {
    url: { type: 'string' },
    info: registration.properties.info,
    instance_id,
    incarnation,
    status: filter.properties.status,
    registered_at: time,
    last_updated: time,
    last_ping_at: time,
    expires_at: time
  }
}

const service = {
  type: 'object',
  properties: { id, ...instance.properties, instances: { type: 'array', items: instance } }
}

const services = {
  type: 'object',
  properties: {
    count: { type: 'integer', description: 'How many services this answer has' },
    services: { type: 'array', items: service },
    next: { type: 'string', description: 'Where the list goes on' }
  }
}

const registered = {
  type: 'object',
  properties: {
    id,
    instance_id,
    status: { const: 'registered' },
    service_url: { type: 'string' },
    message: { type: 'string' },
    ttl_seconds: { type: 'number' },
    ping_url: { type: 'string' }
  }
}

const alive = {
  type: 'object',
  properties: { id, status: { const: 'alive' }, last_ping_at: time, expires_at: time }
}

/** RFC 9457 */
const problem = {
  type: 'object',
  properties: {
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        properties: { field: { type: 'string' }, message: { type: 'string' } }
      }
    }
  }
}

const answers = (success: object) => ({ ...success, '4xx': problem, '5xx': problem })
/** The second spelling of a path is not to appear in an OpenAPI document. */
const hidden = (path: string) => ({ hide: path.includes('^') })

export const register = (path: string) => ({
  ...hidden(path),
  summary: 'Registers an instance of a service, or renews its registration',
  body: registration,
  response: answers({ 200: registered, 201: registered })
})

export const ping = (path: string) => ({
  ...hidden(path),
  summary: 'Keeps a registration alive',
  params,
  querystring: member,
  response: answers({ 200: alive })
})

export const deregister = {
  summary: 'Ends a registration',
  params,
  querystring: member,
  response: answers({ 204: { type: 'null', description: 'Done' } })
}

export const list = {
  summary: 'Lists the services with their instances',
  querystring: filter,
  response: answers({ 200: services })
}

export const get = {
  summary: 'Shows a service with its instances',
  params,
  response: answers({ 200: service })
}
