-- Every script begins with this.
--
-- KEYS: the store, its heads. ARGV: words for open.lua, the life as far as it is known.
local call, try, format, match = redis.call, redis.pcall, string.format, string.match
local store, heads = KEYS[1], KEYS[2]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local clock = now
-- Beyond 2^53, in the year 2255, a double can't tell a number from the next one.
local greatest_number = 9e15
-- The bytes that a channel counts besides its events, and a key besides its name.
local channel_bytes, key_bytes = 300, 120
local s, changed, set, save, lost, old, leap, slack, sure, store_time
