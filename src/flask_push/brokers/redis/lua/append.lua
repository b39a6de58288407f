-- Adds an entry to a log of Flask-Push's own, publishes it, and removes entries that have
-- expired. It remembers the call as publish.lua does.
--
-- KEYS: the store, its heads, the caller, the log, the channel to publish on. ARGV: words,
-- life, the number of the call; the log's name, for how many microseconds to keep the entry,
-- its data; and how many entries and bytes of data the log may have.
-- Returns the epoch, the entry's number, an empty string, and the store's time.
-- include begin.lua
-- include open.lua
local name, keep, data = ARGV[4], ARGV[5], ARGV[6]
local log_key, channel_key = KEYS[4], KEYS[5]
-- include own.lua
-- A jump of the clock must make no entry too old either, so `leap` counts them as well.
local keys = s.keys
s.keys = keys + count
leap()
s.keys = keys
-- include save.lua
local before = call('GET', KEYS[3])
if before then
  local which, done = match(before, '^(%d+):(.*)$')
  if which == ARGV[3] then return {s.epoch, done} end
  -- A later call of the caller came first, so the caller no longer waits for this one.
  if tonumber(which) > tonumber(ARGV[3]) then return {s.epoch, ''} end
end
-- include permission.lua
local last = math.max(now, s.last + 1)
local number, prev = whole(last), whole(newest)
local refused = try('RPUSH', log_key, number .. ':' .. keep .. ':' .. data)
if type(refused) == 'table' then return {err = refused.err} end
if evicted then call('LTRIM', log_key, -1, -1) end
count, size = count + 1, size + #data
local gone, oldest = 0, nil
while true do
  if gone % 100 == 0 then oldest = call('LRANGE', log_key, gone, gone + 99) end
  local record = oldest[gone % 100 + 1]
  local its_number, its_keep, start = match(record, '^(%d+):(%d+):()')
  if not start then break end
  local too_old = last - its_keep
  -- As in `old`: what a jump of the clock has left out is no time that has passed.
  if too_old < s.upto then too_old = too_old - s.upto + s.from end
  if tonumber(its_number) >= too_old and count <= tonumber(ARGV[7])
    and size <= tonumber(ARGV[8]) then break end
  gone, horizon = gone + 1, tonumber(its_number)
  count, size = count - 1, size - (#record - start + 1)
end
if gone > 0 then call('LTRIM', log_key, gone, -1) end
set('last', last)
set('own:' .. name, table.concat({s.life, whole(horizon), number, count, size}, ':'))
save(call)
local value = ARGV[3] .. ':' .. number
if before then
  call('SET', KEYS[3], value, 'KEEPTTL')
else
  call('SET', KEYS[3], value, 'EX', 60)
end
local sent = try('PUBLISH', channel_key,
  s.epoch .. ':' .. number .. ':' .. prev .. ':' .. data)
if type(sent) == 'table' then return {err = 'HALF ' .. sent.err} end
return {s.epoch, number, '', store_time()}
