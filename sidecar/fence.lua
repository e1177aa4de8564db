-- Common to our scripts, which are run with this in front. 13-digit numbers need a format of their own.
local unpack = unpack or table.unpack
local DAY_MS, MINUTE_MS = 86400000, 60000

local function decimal(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function failed(reply)
  return type(reply) == 'table' and reply.err
end

-- The string a command answers with; nothing when there is none, or the key is of another type.
local function text(...)
  local reply = redis.pcall(...)
  return type(reply) == 'string' and reply or ''
end

-- A number out of a text by a pattern; 0 when it is not there or lies further ahead of our clock than any clock errs.
local function recorded(source, pattern)
  local number = tonumber(string.match(source, pattern) or '') or 0
  return number <= now + DAY_MS and number or 0
end

-- Writes to a key of ours, also where somebody put something of another type; the names of such keys are kept.
local repaired = {}
local function write(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if not failed(reply) then return reply end
  if string.find(tostring(reply.err), 'WRONGTYPE', 1, true) then
    redis.call('DEL', key)
    repaired[#repaired + 1] = key
  end
  return redis.call(command, key, ...)
end

-- Who holds the lease: owner and token, or nothing. One that would last for ever, or for long, is none of ours.
local function holder(leader)
  local fields, left = redis.pcall('HMGET', leader, 'owner', 'token'), redis.call('PTTL', leader)
  if failed(fields) or not fields[1] or not fields[2] or left <= 0 or left > MINUTE_MS then return end
  return fields[1], fields[2]
end

-- Leaves word of a write that came too late.
local function refuse(events, length, epoch, owner, token, leader, newer)
  write('XADD', events, 'MAXLEN', '~', length, '*', 'epoch', decimal(epoch), 'backend', '', 'from', '', 'to', 'FENCED',
    'reason', 'refused under token ' .. token .. '; ' .. leader .. ' leads under ' .. newer, 'by', owner)
end
