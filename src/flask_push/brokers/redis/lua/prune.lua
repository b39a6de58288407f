-- Removes events and keys that are too old, or too many bytes, a few at a time.
--
-- KEYS: the store, its heads, its keys, the logs of channels that may lose events.
-- Returns the epoch, and the channels to call it with next, if it is not done.
--
-- The channel with the oldest event is first, and loses its events of about the same age.
-- Events that are younger than the retention's age are removed only if there are too many
-- bytes.
-- include begin.lua
-- include open.lua
-- include save.lua
local logs, done, known = {}, false, KEYS[3]
for i = 4, #KEYS do logs[string.sub(KEYS[i], #heads)] = KEYS[i] end
-- The keys were evicted, or another program has stored something under their name.
local keys = try('ZCARD', known)
if type(keys) == 'table' or keys == 0 then s.bytes, s.keys = s.bytes - s.keys, 0 end
for _ = 1, 64 do
  local top = call('ZRANGE', heads, 0, 1, 'WITHSCORES')
  local channel, score = top[1], tonumber(top[2])
  local log = channel and logs[channel]
  local goal, too_old = s.most * 15 / 16, old()
  local key = s.keys > 0 and tonumber(call('ZRANGE', known, 0, 0, 'WITHSCORES')[2])
  done = (not channel or score >= too_old) and (not key or key >= too_old)
    and (s.bytes <= goal or not (channel or key))
  if done then break end
  if key and key <= (score or key) then
    -- The oldest keys are older than any event.
    local oldest, gone = call('ZRANGE', known, 0, 99, 'WITHSCORES'), 0
    while oldest[2 * gone + 2] do
      local number = tonumber(oldest[2 * gone + 2])
      local goes = number < too_old or (s.bytes > goal and number <= (score or number))
      if not goes then break end
      gone = gone + 1
      local size = #oldest[2 * gone - 1] + key_bytes
      s.bytes, s.keys = s.bytes - size, s.keys - size
    end
    if gone == 0 then break end
    call('ZREMRANGEBYRANK', known, 0, gone - 1)
    if call('ZCARD', known) == 0 then s.bytes, s.keys = s.bytes - s.keys, 0 end
  elseif not log then
    break
  else
    local near = math.max(tonumber(top[4]) or 0, score + (s.last - score) / 64)
    local gone, number, next = 0, nil, nil
    local records = try('LRANGE', log, 0, 15)
    -- Another program's value counts as an empty log.
    if records.err then records = {} end
    for _, record in ipairs(records) do
      next = tonumber(match(record, '^%d+') or 0)
      -- The newest event of the store is kept, however large it is.
      local goes = next < too_old or (next <= near and s.bytes > goal and next < s.last)
      if not goes or (gone == 0 and next > score) then break end
      gone, number = gone + 1, math.max(next, number or 0)
      s.bytes = s.bytes - #record - 100
    end
    if gone > 0 then call('LTRIM', log, gone, -1) end
    if #records == 0 then
      lost(1)
      call('ZREM', heads, channel)
    elseif gone == #records and call('LLEN', log) == 0 then
      call('ZREM', heads, channel)
      set('channels', s.channels - 1)
      set('floor', math.max(s.floor, number))
      s.bytes = s.bytes - channel_bytes
    elseif gone == 0 and next == score then
      done = true
      break
    else
      call('ZADD', heads, format('%.0f', gone == #records and number or next), channel)
    end
  end
end
if s.channels == 0 then s.bytes = s.keys end
local head = tonumber(call('ZRANGE', heads, 0, 0, 'WITHSCORES')[2])
local key = s.keys > 0 and tonumber(call('ZRANGE', known, 0, 0, 'WITHSCORES')[2])
set('oldest', math.min(head or s.last, key or s.last))
set('bytes', s.bytes)
set('keys', s.keys)
save(call)
return {s.epoch, done and {} or call('ZRANGE', heads, 0, 15)}
