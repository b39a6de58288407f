-- Reads a page as read.lua does, with the rows of items.
--
-- KEYS: the store, its heads, the channels' logs; the channels with items, the deadlines, the
-- owners; and of each channel, its rows, the numbers of living ones, and those of tombstones.
-- ARGV: as read.lua; then how many channels there are, the bounds of items, and the names of
-- channels of which only the horizon is wanted.
-- Returns what read.lua does, but before the store's time: up to which number there are all
-- rows; the horizon of each channel, negative if it has no row; and in the order of numbers,
-- the index of a channel, an item and its row in turn. If the caller wanted all, it returns how
-- many rows have a deadline, as read_timed.lua does.
-- include begin.lua
local last_log = 2 + ARGV[7]
local items_key, deadlines_key, owners_key = unpack(KEYS, last_log + 1, last_log + 3)
local kept = ARGV[8]
-- include open_items.lua
local channels, horizons, lists = {}, {}, {}
-- The name of an own channel begins with a byte that no text has, and with its kind.
local function items_of(name, rows, order, unset)
  local kind, channel = match(name, '^\255(%l+):(.*)$')
  return channel_items(kind or '', channel or name, rows, order, unset)
end
for i = 3, s.life == ARGV[2] and last_log or 0 do
  local k = last_log + 4 + 3 * (i - 3)
  local channel = items_of(string.sub(KEYS[i], #heads), KEYS[k], KEYS[k + 1], KEYS[k + 2])
  if channel.known and not is_there(channel) then channel = lose(channel) end
  horizons[i - 2], channel.index = horizon_of(channel), i - 2
  if channel.living > 0 then
    lists[#lists + 1] = {key = channel.order, channel = channel}
  end
  if channel.gone > 0 then
    lists[#lists + 1] = {key = channel.unset, channel = channel}
  end
end
for i = 9, s.life == ARGV[2] and #ARGV or 0 do
  horizons[#horizons + 1] = horizon_of(items_of(ARGV[i]))
end
local function read_logs()
  -- include page.lua
end
local reply = read_logs()
if reply[1] == '' then return reply end
-- include rows.lua
local rows, reached = read_rows(lists, tonumber(reply[6]), '+inf', tonumber(ARGV[5]),
  function() return true end)
if not rows then
  -- Another program has stored one. Without them, the caller calls again.
  lose(reached)
  return {'', whole(s.last), s.life}
end
if reached and ARGV[6] == '1' then
  -- Not all fit.
  reply[7], rows = '0', {}
end
reply[10], reply[11], reply[12] = whole(reached or s.last), horizons, rows
reply[13] = store_time()
if ARGV[6] == '1' then reply[8] = {whole(deadlines)} end
return reply
