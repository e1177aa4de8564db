-- Puts back the intents that a store has lost. What somebody asked for since then is there, and stays as it is.
-- KEYS admin view events
-- ARGV who restores, length of events, channel of intents, the greatest weight, then backend, intent (JSON) and its
--      state in words, each
-- Returns the backends whose intents were put back
local by, length, channel, heaviest = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local restored = {}
for at = 5, #ARGV, 3 do
  local backend, intent, words = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local _, _, _, is_sound = intent_in(KEYS[1], backend, heaviest)
  if not is_sound then
    write('HSET', KEYS[1], backend, intent)
    restored[#restored + 1] = backend
    local epoch = recorded(text('GETRANGE', KEYS[2], 0, 63), '^{"epoch":(%d+),')
    write('XADD', KEYS[3], 'MAXLEN', '~', length, '*', 'epoch', decimal(epoch), 'backend', backend, 'from', '',
      'to', words, 'reason', 'the store had lost it, a monitor had not', 'by', by)
  end
end
if #restored > 0 then redis.call('PUBLISH', channel, restored[1]) end
return restored
