-- Takes the lease of a pool, or keeps it.
-- KEYS leader view beat events
-- ARGV owner, the token it believes in ('' for a standby), expiry in ms, a store id for a store without one,
--      length of events
-- Returns 'OURS', token, store id, now  |  'HELD', owner, token, now
local owner, believed, expiry, candidate, length = unpack(ARGV)
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

-- The store's id lives in the beat: written once, gone with everything else when the store comes back empty.
local store_id = text('HGET', KEYS[3], 'store_id')
if store_id == '' then
  store_id = candidate
  write('HSET', KEYS[3], 'store_id', store_id)
end
return {'OURS', token, store_id, decimal(now)}
