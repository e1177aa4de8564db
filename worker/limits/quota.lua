-- Leases requests of one window of a backend's, of the time of this store; never more than the window has.
-- KEYS quota of the window
-- ARGV window's number, its length in ms, the limit, how many are wanted, how many were made without asking,
--   how long before the window some of it may be leased (ms), how many may take of what is left at a time,
--   1 for one that has leased of this window before
-- Returns how many, now (us), how many of the window are leased; -1 for a window that is over or too far ahead
local key = KEYS[1]
local window, length, limit, wanted, unasked, ahead, takers, again =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]),
  tonumber(ARGV[7]), ARGV[8] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', time[1] * 1000000 + time[2])
local begins = window * length
if now < begins - ahead or now >= begins + length then return {0, stamp, -1} end

local known = redis.call('GET', key)
local is_lost = again and not known -- with all that was leased: nobody knows how many are left
local leased = (is_lost and limit or known and (tonumber(known) or limit) or 0) + unasked
local left = math.max(limit - leased, 0)
local count = math.min(wanted, math.ceil(left / takers))
if count + unasked > 0 or is_lost then
  redis.call('SET', key, string.format('%.0f', leased + count), 'PX', string.format('%.0f', 2 * length + ahead))
end
return {count, stamp, leased + count}
