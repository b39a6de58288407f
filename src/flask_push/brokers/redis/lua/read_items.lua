-- Reads living rows of channels.
--
-- KEYS: the store, its heads; the channels with items, the deadlines, the owners; and of each
-- channel, its rows, the numbers of living ones, and those of tombstones. ARGV: words, life,
-- the bounds of items; the kind, the number after which to begin, the number up to which to
-- read or +inf, bytes after which the page is full, whether to read rows that are due as well;
-- and the channels' names.
-- Returns the epoch; up to which number there are all rows, and the store's last number; the
-- horizon of each channel, negative if it has no row; in the order of numbers, the index of a channel, an item and its
-- row in turn; and the store's time.
-- include begin.lua
local items_key, deadlines_key, owners_key, kept = KEYS[3], KEYS[4], KEYS[5], ARGV[3]
-- include open_items.lua
-- If the server refuses writes, the rows can still be read.
save(fresh and call or try)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
-- include rows.lua
local horizons, lists = {}, {}
for i = 9, #ARGV do
  local k = 6 + 3 * (i - 9)
  local channel = channel_items(ARGV[4], ARGV[i], KEYS[k], KEYS[k + 1], KEYS[k + 2])
  if channel.known and not is_there(channel) then channel = lose(channel) end
  horizons[i - 8], channel.index = horizon_of(channel), i - 8
  if channel.living > 0 then
    lists[#lists + 1] = {key = channel.order, channel = channel}
  end
end
local last, upto, due = s.last, tonumber(ARGV[6]), ARGV[8] == '1'
local rows, reached = read_rows(lists, tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]),
  function(row) return due or not row.due end)
if not rows then
  -- Another program has stored one. Without them, the caller calls again.
  lose(reached)
  return {'', whole(last), s.life}
end
reached = reached or (upto and math.min(upto, last)) or last
return {s.epoch, whole(reached), whole(last), horizons, rows, store_time()}
