"""The smallest Redis script that publishes events which can be resumed.

It numbers them, stores with each the number of the event before it, expires them, and
publishes them.

KEYS: the clock, a channel's log, its last number. ARGV: the pub/sub channel, how many
events to keep, for how many milliseconds, an epoch, and the events.
"""

_BEGIN = """
local clock, list, newest = KEYS[1], KEYS[2], KEYS[3]
local c = redis.call('HMGET', clock, 'e', 's')
local e = c[1]
if not e then
  e = ARGV[4]
  redis.call('HSET', clock, 'e', e)
end
local t = redis.call('TIME')
local n = math.max(t[1] * 1000000 + t[2], (tonumber(c[2]) or 0) + 1)
"""

SINGLE = (
    _BEGIN
    + """
local number = string.format('%.0f', n)
redis.call('HSET', clock, 's', number)
local prev = redis.call('SET', newest, number, 'PX', ARGV[3], 'GET') or '0'
local record = number .. ':' .. prev .. ':' .. ARGV[5]
redis.call('RPUSH', list, record)
redis.call('LTRIM', list, -ARGV[2], -1)
for _ = 1, 5 do
  local first = redis.call('LINDEX', list, 0)
  if tonumber(string.match(first, '^%d+')) >= n - ARGV[3] * 1000 then break end
  redis.call('LPOP', list)
end
redis.call('PEXPIRE', list, ARGV[3])
redis.call('PUBLISH', ARGV[1], e .. ':' .. record)
return {e, number}
"""
)

BATCH = (
    _BEGIN
    + """
local last = string.format('%.0f', n + #ARGV - 5)
redis.call('HSET', clock, 's', last)
local prev = redis.call('SET', newest, last, 'PX', ARGV[3], 'GET') or '0'
local records = {}
for i = 5, #ARGV do
  local number = string.format('%.0f', n + i - 5)
  records[#records + 1] = number .. ':' .. prev .. ':' .. ARGV[i]
  prev = number
end
redis.call('RPUSH', list, unpack(records))
redis.call('LTRIM', list, -ARGV[2], -1)
for _ = 1, 5 do
  local first = redis.call('LINDEX', list, 0)
  if tonumber(string.match(first, '^%d+')) >= n - ARGV[3] * 1000 then break end
  redis.call('LPOP', list)
end
redis.call('PEXPIRE', list, ARGV[3])
for _, record in ipairs(records) do redis.call('PUBLISH', ARGV[1], e .. ':' .. record) end
return {e, last}
"""
)
