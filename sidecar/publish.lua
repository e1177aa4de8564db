-- Writes what a leader has to say of its pool, all together; nothing unless it holds the lease under its token.
-- KEYS leader view beat events, then the hashes, histories and departed keys that the plan speaks of, in this order
-- ARGV owner, token, push channel, plan (JSON), the view without its epoch ('' for a heartbeat, which leaves it alone)
-- Returns 'DONE', epoch, now, repaired keys…  |  'ABSENT' | 'FENCED', owner, token | 'LOST' (the view is not what
-- was published last; nothing was written)
local owner, token, channel, body = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local plan = cjson.decode(ARGV[4])
local view, beat, events = KEYS[2], KEYS[3], KEYS[4]
local head = text('GETRANGE', view, 0, 63)
local epoch = recorded(head, '^{"epoch":(%d+),')

local leader, newer = holder(KEYS[1])
if not leader then return {'ABSENT'} end
if leader ~= owner or newer ~= token then
  refuse(events, plan.events_length, epoch, owner, token, leader, newer)
  return {'FENCED', leader, newer}
end

local seen = redis.pcall('STRLEN', view)
if body == '' then
  if decimal(epoch) ~= plan.epoch or failed(seen) or decimal(seen) ~= plan.view_length then return {'LOST'} end
else
  if failed(seen) or (seen > 0 and epoch == 0) then repaired[1] = view end
  epoch = math.max(epoch + 1, now)
  redis.call('SET', view, '{"epoch":' .. decimal(epoch) .. ',' .. body)
end

local seq = recorded(text('HGET', beat, 'seq'), '^(%d+)$') + 1
write('HSET', beat, 'seq', decimal(seq), 'epoch', decimal(epoch), 'store_id', plan.store_id,
  'redis_ms', decimal(now), 'leader', owner, 'token', token)
if plan.probe_ms ~= '' then
  write('HSET', beat, 'probe_ms', plan.probe_ms)
else
  redis.call('HDEL', beat, 'probe_ms')
end

local at = 4
for _, fields in ipairs(plan.hashes) do
  at = at + 1
  write('HSET', KEYS[at], unpack(fields))
  redis.call('PERSIST', KEYS[at])
end
for _, fields in ipairs(plan.histories) do
  at = at + 1
  write('XADD', KEYS[at], 'MAXLEN', '~', plan.history_length, '*', unpack(fields))
  redis.call('PEXPIRE', KEYS[at], plan.history_ms)
end
for departed = at + 1, #KEYS do
  if redis.call('PTTL', KEYS[departed]) == -1 then redis.call('PEXPIRE', KEYS[departed], plan.departed_ms) end
end
for _, fields in ipairs(plan.events) do
  write('XADD', events, 'MAXLEN', '~', plan.events_length, '*', 'epoch', decimal(epoch), unpack(fields))
end
if body ~= '' then redis.call('PUBLISH', channel, decimal(epoch)) end
return {'DONE', decimal(epoch), decimal(now), unpack(repaired)}
