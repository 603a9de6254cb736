import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify'
import { endOfTurn } from './end-of-turn.ts'
import { FencedError, KeyError, PayloadError, UnknownServiceError } from './errors.ts'
import type { EventHub } from './event-hub.ts'
import { eventRoutes } from './event-routes.ts'
import { problem, sendProblem } from './problem.ts'
import type { Entry, Member, Roster, RosterFilter } from './roster.ts'
import { runRoutes } from './run-routes.ts'
import * as schemas from './schemas.ts'
import { keyCheck } from './service-key.ts'

interface RoutesOptions {
  roster: Roster
  hub: EventHub
  key: string[]
  readKey: string[]
  proxy: { timeout: number } | false
}

interface Payload extends Entry {
  id?: string
  instance_id?: string
  incarnation?: string
}

interface MemberRequest {
  Params: { id: string }
  Querystring: { instance_id?: string; incarnation?: string }
}

const BODY_LIMIT = 64 * 1024
const DEEPEST = 32

/** The wire of the registration protocol, below the prefix that it is registered with. */
export async function routes(
  scope: FastifyInstance,
  { roster, hub, key, readKey, proxy }: RoutesOptions
): Promise<void> {
  const base = scope.prefix

  scope.setErrorHandler(sendProblem)
  scope.setNotFoundHandler((request, reply) =>
    problem(reply, 404, { detail: `There is no ${request.method} ${request.url} here` })
  )
  // Answers are built here field by field; the schemas only describe them.
  scope.setSerializerCompiler(() => JSON.stringify)
  acceptEmptyJson(scope)

  const write = guard(key)
  const read = guard(readKey.length === 0 ? [] : [...readKey, ...key])

  // `$` is as often sent as %24, which only a parameter decodes.
  for (const register of ['/$register', '/:register(^\\$register$)']) {
    scope.post<{ Body: Payload }>(
      register,
      { ...write, bodyLimit: BODY_LIMIT, schema: schemas.register(register) },
      async (request, reply) => {
        const { id, instance_id, incarnation, ...entry } = request.body
        const service = id ?? entry.info['id']
        if (typeof service !== 'string') throw new PayloadError('id: is missing')
        assertUrl(entry.url)
        assertShallow(entry)
        const member = { service, instance: instance_id ?? service, incarnation }
        const updated = await roster.register(member, entry)
        await endOfTurn()
        return reply.code(updated ? 200 : 201).send({
          id: service,
          instance_id,
          status: 'registered',
          service_url: entry.url,
          message: updated ? 'Service registration updated' : 'Service registered',
          ttl_seconds: Math.floor(roster.ttl / 1_000),
          ping_url: pingUrl(request, service, { instance_id, incarnation })
        })
      }
    )
  }

  for (const ping of ['/:id/$ping', '/:id/:ping(^\\$ping$)']) {
    scope.put<MemberRequest>(
      ping,
      { ...write, schema: schemas.ping(ping), logLevel: 'warn' },
      async (request) => {
        const member = memberOf(request)
        const result = await roster.ping(member)
        await endOfTurn()
        if (result === 'gone') throw new UnknownServiceError(nameOf(member))
        if (result === 'fenced') throw new FencedError(nameOf(member))
        const now = Date.now()
        return {
          id: member.service,
          status: 'alive',
          last_ping_at: new Date(now).toISOString(),
          expires_at: new Date(now + roster.ttl).toISOString()
        }
      }
    )
  }

  scope.delete<MemberRequest>(
    '/:id',
    { ...write, schema: schemas.deregister },
    async (request, reply) => {
      const member = memberOf(request)
      const result = await roster.remove(member)
      if (result === 'gone') throw new UnknownServiceError(nameOf(member))
      if (result === 'fenced') throw new FencedError(nameOf(member))
      return reply.code(204).send()
    }
  )

  scope.get<{ Querystring: RosterFilter }>(
    '/',
    { ...read, schema: schemas.list },
    async ({ query }) => {
      const { services, next } = await roster.page(query)
      const more = next && search({ ...query, limit: `${query.limit}`, after: next })
      return { count: services.length, services, ...(more && { next: base + more }) }
    }
  )

  scope.get<{ Params: { id: string } }>(
    '/:id',
    { ...read, schema: schemas.get },
    async ({ params: { id } }) => {
      const service = await roster.find(id)
      if (!service) throw new UnknownServiceError(id)
      return service
    }
  )

  await scope.register(eventRoutes, { hub, read })
  const opens = keyCheck([...key, ...readKey])
  if (proxy) await scope.register(runRoutes, { roster, read, opens, ...proxy })

  function pingUrl(request: FastifyRequest, id: string, query: Record<string, string | undefined>) {
    const origin = request.host ? `${request.protocol}://${request.host}` : ''
    return `${origin}${base}/${id}/$ping${search(query)}`
  }
}

function search(query: Record<string, string | undefined>): string {
  let written = ''
  for (const name in query) {
    const value = query[name]
    if (value) written += `${written ? '&' : '?'}${name}=${encodeURIComponent(value)}`
  }
  return written
}

/** Bodies on requests that need none are common: content-type json with nothing after it is nothing. */
function acceptEmptyJson(scope: FastifyInstance): void {
  const parse = scope.getDefaultJsonParser('error', 'error')
  scope.removeContentTypeParser('application/json')
  scope.addContentTypeParser<string>(
    'application/json',
    { parseAs: 'string' },
    (request, body, done) => {
      if (body === '') done(null, undefined)
      else void parse(request, body, done)
    }
  )
}

/** What a route needs so that only those with one of the keys get in; without keys everybody does. */
function guard(keys: string[]): { onRequest?: onRequestHookHandler } {
  if (keys.length === 0) return {}
  const opens = keyCheck(keys)
  return {
    onRequest(request, _, done) {
      done(opens(request.headers) ? undefined : new KeyError())
    }
  }
}

/** The query says which instance, as in the answered ping_url, or two headers do. */
function memberOf({ params, query, headers }: FastifyRequest<MemberRequest>): Member {
  const {
    instance_id = decoded(headers['x-muster-instance']),
    incarnation = decoded(headers['x-muster-incarnation'])
  } = query
  return { service: params.id, instance: instance_id ?? params.id, incarnation }
}

function decoded(header: string | string[] | undefined): string | undefined {
  if (typeof header !== 'string') return undefined
  try {
    return decodeURIComponent(header)
  } catch {
    return header
  }
}

function nameOf({ service, instance }: Member): string {
  return instance === service ? service : `${service} (${instance})`
}

function assertUrl(url: string): void {
  if (!URL.canParse(url)) throw new PayloadError('url: is no URL')
}

/** What is nested deeper than any description needs costs a stack when it is written. */
function assertShallow(value: unknown, depth = 0): void {
  if (typeof value !== 'object' || value === null) return
  if (depth > DEEPEST) throw new PayloadError(`info: is nested deeper than ${DEEPEST}`)
  for (const name in value) assertShallow(value[name as keyof typeof value], depth + 1)
}
