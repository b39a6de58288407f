-- Reads single rows of channels, those that are found, living or not.
--
-- KEYS: the store, its heads; the channels with items, the deadlines, the owners; and of each
-- channel, its rows, the numbers of living ones, and those of tombstones. ARGV: words, life,
-- the bounds of items; the kind, how many channels there are, and their names; and the index
-- of a channel and an item in turn.
-- Returns the epoch, the last number, the row of each item, the horizon of each channel as
-- read_items.lua does, and the store's time.
-- include begin.lua
local items_key, deadlines_key, owners_key, kept = KEYS[3], KEYS[4], KEYS[5], ARGV[3]
-- include open_items.lua
save(fresh and call or try)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
local names, horizons = 5 + ARGV[5], {}
for i = 6, names do
  local k = 6 + 3 * (i - 6)
  local channel = channel_items(ARGV[4], ARGV[i], KEYS[k], KEYS[k + 1], KEYS[k + 2])
  if channel.known and not is_there(channel) then channel = lose(channel) end
  horizons[i - 5] = horizon_of(channel)
end
local rows = {}
for i = names + 1, #ARGV, 2 do
  local record = try('HGET', KEYS[3 + 3 * ARGV[i]], ARGV[i + 1])
  local row = type(record) == 'string' and row_of(ARGV[i + 1], record)
  rows[#rows + 1] = row and row.living and record or ''
end
return {s.epoch, whole(s.last), rows, horizons, store_time()}
