import { createHash } from 'node:crypto'

export interface Script {
  readonly lua: string
  readonly sha: string
}

/** What a script answers to a TIME of its own server; a model test puts a clock of its own here. */
export const redisClock = `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)`

export type Scripts = ReturnType<typeof leaseScripts>

// Every script takes its keys in this order, whether it needs all of them or not; a reap takes more hashes.
// A hash value is '<incarnation> <ttl> <id>\n<json>', a member of `due` is '<service>/<id>#<incarnation>'.
const KEYS = `local due, meta, events, services, instances = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
`

// ARGV[1] is a random epoch, ARGV[2] the length of the stream, ARGV[3] the ms after which an idle namespace goes.
const WRITING = `${KEYS}
-- A namespace without an epoch is new, or was lost: what its stream still holds belongs to another life,
-- and its ids would be larger than those to come.
local function enter()
  if redis.call('HSETNX', meta, 'epoch', ARGV[1]) == 1 then redis.call('DEL', events) end
end

local function keep()
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[3]) end
end

-- The id of an entry is its place in the one line of revisions, so that a reader sees a gap.
local function record(op, service, id, value)
  enter()
  local seq = redis.call('HINCRBY', meta, 'seq', 1)
  redis.call('XADD', events, 'MAXLEN', '~', ARGV[2], seq .. '-0', 'op', op, 'service', service, 'id', id, 'value', value)
end

local function owner(value) return string.match(value, '^%S+') end
`

/** The Lua scripts of the registry, told how to read the clock. */
export function leaseScripts(clock = redisClock) {
  return {
    // ARGV 4 service, 5 id, 6 incarnation, 7 ttl, 8 json, 9 '1' to take the id from another incarnation
    put: script(`${WRITING}${clock}
local service, id, incarnation, ttl = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local value = incarnation .. ' ' .. ttl .. ' ' .. id .. '\\n' .. ARGV[8]
local stem = service .. '/' .. id .. '#'
local before = redis.call('HGET', instances, id)
local op = 'join'
if before then
  local holder = owner(before)
  if holder ~= incarnation then
    if ARGV[9] ~= '1' then return 'fenced' end
    op = 'replace'
    redis.call('ZREM', due, stem .. tostring(holder))
  else
    op = before == value and 'same' or 'update'
  end
end
enter()
redis.call('ZADD', due, now + ttl, stem .. incarnation)
redis.call('SADD', services, service)
if op ~= 'same' then
  redis.call('HSET', instances, id, value)
  record(op, service, id, value)
end
keep()
return op`),

    // KEYS due, instances; now and then also meta, services and events, to look at them and to put off their end.
    // ARGV 1 member, 2 ttl, 3 idle ms. 1: renewed, 0: gone, -1: another incarnation holds the id. Never creates.
    // It runs for each heartbeat: every key, argument and call counts.
    renew: script(`${clock}
if redis.call('ZADD', KEYS[1], 'XX', 'CH', now + ARGV[2], ARGV[1]) == 0 and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  local id, incarnation = string.match(ARGV[1], '^[^/]*/([^#]*)#(.*)$')
  local value = redis.call('HGET', KEYS[2], id)
  if value and string.match(value, '^%S+') ~= incarnation then return -1 end
  return 0
end
-- A deadline without what it is the deadline of is half a lease (a key was evicted): it is to be put again.
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
if #KEYS > 2 then
  if redis.call('EXISTS', KEYS[3], KEYS[4]) < 2 then return 0 end
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[3]) end
end
return 1`),

    // ARGV 4 service, 5 id, 6 incarnation. 1: removed, 0: gone, -1: another incarnation holds the id
    // It removes before it records: under OOM a script may write on once it has freed something.
    remove: script(`${WRITING}
local value = redis.call('HGET', instances, ARGV[5])
if not value then return 0 end
if owner(value) ~= ARGV[6] then return -1 end
redis.call('ZREM', due, ARGV[4] .. '/' .. ARGV[5] .. '#' .. ARGV[6])
redis.call('HDEL', instances, ARGV[5])
if redis.call('EXISTS', instances) == 0 then redis.call('SREM', services, ARGV[4]) end
record('leave', ARGV[4], ARGV[5], ARGV[6])
keep()
return 1`),

    // Read only. ARGV 1 how many of the dead to name at most
    // now, epoch, seq, ms to the next deadline or -1, size of the service, the dead with the oldest first
    probe: script(`${KEYS}${clock}
local at = redis.call('HMGET', meta, 'epoch', 'seq')
local dead = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, ARGV[1])
local coming = redis.call('ZRANGEBYSCORE', due, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local wait = coming[2] and coming[2] - now or -1
local size = instances and redis.call('HLEN', instances) or 0
return {now, at[1] or '', tonumber(at[2] or 0), wait, size, dead}`),

    // ARGV 4 share, 5 grace or '' for the TTL of each lease, 6 TTL of what is no lease,
    // then for each of the dead: member, which of the hashes is its, service, id, incarnation
    // Answers how many were removed, how many kept, and ms until more may go.
    reap: script(`${WRITING}${clock}
local share, grace = tonumber(ARGV[4]), tonumber(ARGV[5])
local state = redis.call('HMGET', meta, 'window', 'total', 'removed')
local opened, total, taken = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[3] or 0)
local removed, kept, wait = 0, 0, -1
for i = 7, #ARGV, 5 do
  local member, hash, service, id, incarnation = ARGV[i], KEYS[4 + ARGV[i + 1]], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  -- It may have been renewed, or removed by another reader, since it was found dead.
  local deadline = tonumber(redis.call('ZSCORE', due, member) or now + 1)
  if deadline <= now then
    local value = redis.call('HGET', hash, id)
    local ttl = tonumber(value and string.match(value, '^%S+ (%d+)') or ARGV[6])
    -- A clock that went back opens a new window too.
    if now - opened >= ttl or opened > now then
      opened, total, taken = now, redis.call('ZCARD', due), 0
    end
    local overdue = deadline + (grace or ttl) <= now
    if overdue or taken < math.max(1, math.floor(total * share)) then
      if not overdue then taken = taken + 1 end
      removed = removed + 1
      redis.call('ZREM', due, member)
      if value and owner(value) == incarnation then
        redis.call('HDEL', hash, id)
        if redis.call('EXISTS', hash) == 0 then redis.call('SREM', services, service) end
        record('expire', service, id, incarnation)
      end
    else
      kept = kept + 1
      local left = math.min(opened + ttl, deadline + (grace or ttl)) - now
      if wait < 0 or left < wait then wait = left end
    end
  end
end
redis.call('HSET', meta, 'window', opened, 'total', total, 'removed', taken)
keep()
return {removed, kept, wait}`)
  }
}

function script(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}
