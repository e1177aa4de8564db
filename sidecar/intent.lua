-- Common to admin.lua and restore.lua, which are run with fence.lua and this in front.
local function number(value, most)
  return type(value) == 'number' and value >= 0 and value <= most and value
end

-- What stands there of a backend, as far as it is what we write: state, weight, when it was asked for (false or nil
-- for each that is not); and whether all of it is.
local function intent_in(key, backend, heaviest)
  local known, old = pcall(cjson.decode, text('HGET', key, backend))
  if not known or type(old) ~= 'table' then old = {} end
  local admin = (old.admin == 'ready' or old.admin == 'drain' or old.admin == 'maint') and old.admin
  local weight, since = number(old.weight, tonumber(heaviest)), number(old.since_ms, now + DAY_MS)
  return admin, weight, since, admin and since and (weight or old.weight == nil)
end
