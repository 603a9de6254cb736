const SLUG = '^[a-z][a-z0-9]*(-[a-z0-9]+)*$'
const INSTANCE = '^[^/#{}\\u0000-\\u001f\\u007f-\\u009f]+$'
const TOKEN = '^[A-Za-z0-9._-]+$'

const id = { type: 'string', pattern: SLUG, maxLength: 128 }
const instance_id = { type: 'string', pattern: INSTANCE, maxLength: 128 }
const incarnation = { type: 'string', pattern: TOKEN, maxLength: 128 }
const time = { type: 'string', format: 'date-time' }

export const registration = {
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
} as const

export const params = { type: 'object', properties: { id } } as const

export const member = {
  type: 'object',
  properties: { instance_id, incarnation }
} as const

export const filter = {
  type: 'object',
  properties: {
    status: { type: 'string', enum: ['alive', 'suspect'] },
    after: { type: 'string', maxLength: 128, description: 'Start after this id' },
    limit: { type: 'integer', minimum: 1, maximum: 1000, default: 1000 }
  }
} as const

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
} as const

export const service = {
  type: 'object',
  properties: { id, ...instance.properties, instances: { type: 'array', items: instance } }
} as const

export const services = {
  type: 'object',
  properties: {
    count: { type: 'integer', description: 'How many services this answer has' },
    services: { type: 'array', items: service },
    next: { type: 'string', description: 'Where the list goes on' }
  }
} as const

export const registered = {
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
} as const

export const alive = {
  type: 'object',
  properties: { id, status: { const: 'alive' }, last_ping_at: time, expires_at: time }
} as const

/** RFC 9457 */
export const problem = {
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
} as const
