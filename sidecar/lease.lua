-- Takes the lease of a pool, or keeps it.
-- KEYS leader view beat events
-- ARGV owner, the token it believes in and the store id it knows ('' for a standby), expiry in ms, length of events,
--      an id for a store that came back empty
-- Returns 'OURS', token, store id, now  |  'HELD', owner, token, now
local owner, believed, known, expiry, length, fresh = unpack(ARGV)
local view = text('GETRANGE', KEYS[2], 0, 255)

local leader, token = holder(KEYS[1])
if leader and leader ~= owner then
  if believed ~= '' then
    refuse(KEYS[4], length, recorded(view, '^{"epoch":(%d+),'), owner, believed, leader, token)
  end
  return {'HELD', leader, token, decimal(now)}
end

if not leader then
  redis.call('DEL', KEYS[1])
  local previous = math.max(recorded(view, '"token":(%d+)'), recorded(text('HGET', KEYS[3], 'token'), '^(%d+)$'))
  token = decimal(math.max(previous + 1, now))
end
redis.call('HSET', KEYS[1], 'owner', owner, 'token', token, 'until_ms', decimal(now + expiry))
redis.call('PEXPIRE', KEYS[1], expiry)

-- The store's id lives in the beat, which is published under this lease and gone with it when the store is emptied.
local store_id = text('HGET', KEYS[3], 'store_id')
if store_id == '' then store_id = leader and known ~= '' and known or fresh end
return {'OURS', token, store_id, decimal(now)}
