-- Reads a log of Flask-Push's own, after a number.
--
-- KEYS: the store, its heads, the log. ARGV: words, life; the log's name, the epoch of that
-- number or an empty string, the number, and bytes after which the page is full. In another
-- epoch than that, the page begins where the log does.
-- Returns the epoch; the number up to which the page reaches, and that after which it begins;
-- the entries, each as its number, a colon and its data; the store's last number, which is
-- greater than the first if the page is full; and the store's time.
-- include begin.lua
-- include open.lua
local name, log_key = ARGV[3], KEYS[3]
-- include own.lua
-- If the server refuses writes, the entries can still be read.
save(fresh and call or try)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
local known = ARGV[4] == '' or ARGV[4] == s.epoch
local after, limit = known and tonumber(ARGV[5]) or 0, tonumber(ARGV[6])
local function parts(record) return match(record or '', '^(%d+):%d+:()') end
-- The index of the first entry on the page. It searches from the log's end, because feeds
-- usually miss only a few entries.
local index = after < horizon and 0 or count
while index > 0 and newest > after do
  local number = tonumber((parts(call('LINDEX', log_key, index - 1))))
  if number and number <= after then break end
  index = index - 1
end
local entries, reach = {}, s.last
while index < count do
  local record = call('LINDEX', log_key, index)
  local number, start = parts(record)
  if not number then
    -- Another program has stored it.
    horizon, entries, reach = newest, {}, s.last
    break
  end
  entries[#entries + 1] = number .. ':' .. string.sub(record, start)
  index, limit = index + 1, limit - #record - 64
  if limit <= 0 and index < count then
    reach = tonumber(number)
    break
  end
end
return {s.epoch, whole(reach), whole(math.max(after, horizon)), entries, whole(s.last),
  store_time()}
