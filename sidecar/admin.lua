-- Writes what the operator asks for of one backend, together with its event; what was not spoken of stays.
-- KEYS admin view events
-- ARGV backend, 'admin' or 'weight', its new value ('' for a weight: the configured one), who asks, length of events,
--      channel of intents, the greatest weight
-- Returns what it was, what it is now, when that was asked for (the same twice: nothing was changed)
local backend, what, value, by, length, channel, heaviest = unpack(ARGV)

local admin, weight, since, is_sound = intent_in(KEYS[1], backend, heaviest)
local was = {admin = admin or 'ready', weight = weight and string.format('%.6g', weight) or ''}
local function told(words)
  if what == 'admin' then return words.admin end
  return 'weight ' .. (words.weight == '' and 'default' or words.weight)
end

local is = {admin = was.admin, weight = was.weight}
is[what] = value
local from, to = told(was), told(is)
-- An absent "ready" is written too: when the store is restored from a copy, it must win over what the copy remembers.
-- What is not what we write is written over.
if from ~= to or not is_sound then
  since = now
  local weighs = is.weight == '' and '' or ',"weight":' .. is.weight
  write('HSET', KEYS[1], backend, '{"admin":"' .. is.admin .. '"' .. weighs .. ',"since_ms":' .. decimal(now) ..
    ',"by":' .. cjson.encode(by) .. '}')
  redis.call('PUBLISH', channel, backend)
end
if from ~= to then
  local epoch = recorded(text('GETRANGE', KEYS[2], 0, 63), '^{"epoch":(%d+),')
  write('XADD', KEYS[3], 'MAXLEN', '~', length, '*', 'epoch', decimal(epoch), 'backend', backend, 'from', from,
    'to', to, 'reason', 'the operator asked for it', 'by', by)
end
return {from, to, decimal(since)}
