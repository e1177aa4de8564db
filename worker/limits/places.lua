-- One instance's places at a backend: says what it uses and wants, and learns what it may use from now on.
-- The places that all want are shared out fairly; what somebody else still holds is not given to anybody.
-- KEYS share
-- ARGV instance, cap (0: none), lease in ms, places it may have in use, places it wants, masters it last knew of,
--   then for people: max_requests, its window in ms
-- Returns places, now (us), masters, our rank among them
local key, me = KEYS[1], ARGV[1]
local cap, ttl, uses, wanted, known =
  tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local ROTATE_MS = 2000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function lease(granted, wanted)
  return string.format('{"granted":%.0f,"wanted":%.0f,"until_ms":%.0f}', granted, wanted, now + ttl)
end

-- The living members with what they want; what the others hold; since when all who are here may be told of.
local function read()
  local fields = redis.pcall('HGETALL', key)
  if fields.err then
    redis.call('DEL', key)
    fields = {}
  end
  local names, wants, held, born, last = {me}, {[me] = wanted}, 0, now, 0
  for at = 1, #fields, 2 do
    local name, value = fields[at], fields[at + 1]
    if name == 'born' then
      born = math.min(tonumber(value) or now, now)
    elseif string.find(name, ':', 1, true) then
      local granted, want, till = string.match(value, '"granted":(%d+),"wanted":(%d+),"until_ms":(%d+)')
      last = math.max(last, tonumber(till) or 0)
      if name ~= me and granted and tonumber(till) > now then
        held, wants[name] = held + tonumber(granted), tonumber(want)
        names[#names + 1] = name
        if tonumber(till) > now + ttl then -- the clock was set back: for us it is from now on that the lease lasts
          redis.call('HSET', key, name, lease(granted, want))
        end
      elseif name ~= me then
        redis.call('HDEL', key, name)
      end
    end
  end
  table.sort(names)
  return names, wants, held, last > now and born or now
end

-- The max-min fair parts of `cap`: nobody gets less so that somebody gets more, nobody more than they want until all
-- have that, and then the rest in equal parts. Where there are too few for one each, it goes round. Who wants none keeps
-- one at hand only where all of those are no more than half.
local function parts(names, wants)
  local spare = cap >= 2 * #names and 1 or 0
  local part, left, hungry = {}, cap, {}
  local turn = cap < #names and math.floor(now / ROTATE_MS) % #names or 0
  for at = 1, #names do
    local name = names[(at - 1 + turn) % #names + 1]
    part[name], hungry[at] = 0, name
  end
  local all = hungry
  while left > 0 and #hungry > 0 do
    local each, still = math.max(math.floor(left / #hungry), 1), {}
    for _, name in ipairs(hungry) do
      local want = math.max(wants[name], spare)
      local more = math.min(each, want - part[name], left)
      part[name], left = part[name] + more, left - more
      if part[name] < want then still[#still + 1] = name end
    end
    hungry = still
  end
  for at, name in ipairs(all) do
    part[name] = part[name] + math.floor(left / #all) + (at <= left % #all and 1 or 0)
  end
  return part
end

local names, wants, held, born = read()
local rank = 0
for at, name in ipairs(names) do
  if name == me then rank = at - 1 end
end
local places = math.max(math.min(parts(names, wants)[me], cap - held), 0)
local masters = #names
if known > masters and now - born < ttl then
  -- A store that was away, has lost everything or had its clock set forth: who is yet to come may still use what it had.
  -- Which of them we are is not known either; as the last of them we have no claim to an odd place.
  places, masters, rank = math.min(places, uses), known, known - 1
end

redis.call('HSET', key, me, lease(math.max(places, uses), wanted), 'born', string.format('%.0f', born))
redis.call('HSET', key, 'max_inflight', ARGV[2], 'max_requests', ARGV[7], 'window_ms', ARGV[8])
redis.call('PEXPIRE', key, 2 * ttl)
return {places, string.format('%.0f', time[1] * 1000000 + time[2]), masters, rank}
