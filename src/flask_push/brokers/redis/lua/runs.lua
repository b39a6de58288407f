-- Reads the store's fields that publishing usually needs. Once a second, or if something is
-- unusual, it reads and checks all of them.
--
-- Events come in runs. In KEYS, a run has its log, the channel to publish on, and, if its
-- event has a key, the store's keys. In ARGV, it has the number of its events (negative if
-- they are not stored; 0 or -0 and a member of the store's keys for an event that has a
-- key), and then the end of each record.
local had = call('HMGET', store,
  'life', 'epoch', 'last', 'bytes', 'most', 'count', 'checked', 'channels')
local epoch, last, bytes = had[2], tonumber(had[3]), tonumber(had[4])
local most, count, checked = tonumber(had[5]), tonumber(had[6]), tonumber(had[7])
local slow = had[1] ~= ARGV[2] or not (last and bytes and most and count and checked)
  or math.abs(clock - math.abs(checked)) > 1000000 or last > greatest_number
  or try('ZCARD', heads) ~= tonumber(had[8])
local size, due = #ARGV, false
-- While the clock is wrong, each number is the last one and one, until the next check.
if not slow and checked < 0 then now = 0 end
if slow then
  -- include open.lua
  leap()
  -- include save.lua
  if math.abs(clock - math.abs(s.checked)) > 1000000 then
    -- A negative number says that the store's time is not the clock's.
    local checked = s.ahead == 0 and clock or -clock
    call('HSET', store, 'checked', format('%.0f', checked))
  end
  epoch, last, bytes, most, count = s.epoch, s.last, s.bytes, s.most, s.count
  due = s.channels + s.keys > 0 and s.oldest < old() - s.age / 64
end
