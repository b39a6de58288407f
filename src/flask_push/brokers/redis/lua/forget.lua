-- Removes the oldest rows of a channel, up to a number, without unsets.
--
-- KEYS: the store, its heads; the channels with items, the deadlines, the owners; of the
-- channel, its rows, the numbers of living ones, those of tombstones, and the channel to publish
-- on. ARGV: words, life, the bounds of items; kind and name of the channel; up to which number,
-- and how many rows at most.
-- Returns the epoch, the last number, `more` if there are more such rows, and the store's time.
-- include begin.lua
local items_key, deadlines_key, owners_key, kept = KEYS[3], KEYS[4], KEYS[5], ARGV[3]
-- include open_items.lua
save(call)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
local kind, upto, limit = ARGV[4], ARGV[6], tonumber(ARGV[7])
local channel = channel_items(kind, ARGV[5], KEYS[6], KEYS[7], KEYS[8])
if channel.known and not is_there(channel) then channel = lose(channel) end
local oldest = {}
for _, key in ipairs(channel.known and {channel.order, channel.unset} or {}) do
  local found = call('ZRANGEBYSCORE', key, '-inf', upto, 'WITHSCORES', 'LIMIT', 0, limit + 1)
  for i = 1, #found, 2 do
    oldest[#oldest + 1] = {key = key, item = found[i], number = tonumber(found[i + 1])}
  end
end
table.sort(oldest, function(one, other) return one.number < other.number end)
local more = #oldest > limit
for i = limit + 1, #oldest do oldest[i] = nil end
if #oldest == 0 then return {s.epoch, whole(s.last), '', store_time()} end
for _, each in ipairs(oldest) do
  local row = row_of(each.item, call('HGET', channel.rows, each.item))
  if not row then
    return {err = 'WRONGTYPE The key ' .. channel.rows .. ' holds no items.'}
  end
  each.row = row
end
channel.horizon = math.max(channel.horizon, oldest[#oldest].number)
-- A Redis that has no memory left refuses a script whose first write needs some.
for _, each in ipairs(oldest) do
  local row = each.row
  call('HDEL', channel.rows, each.item)
  if row.ttl ~= '' then
    s.items[2] = s.items[2] - call('ZREM', deadlines_key, deadline_of(channel, row))
  end
  if row.owner ~= '' then
    s.items[3] = s.items[3] - call('ZREM', owners_key, owner_of(channel, row))
  end
  call('ZREM', each.key, each.item)
  if row.living then
    channel.living, channel.bytes = channel.living - 1, channel.bytes - row.size
  else
    channel.gone = channel.gone - 1
  end
end
if channel.living + channel.gone > 0 then
  call('HSET', items_key, channel.field, table.concat({whole(channel.horizon),
    whole(channel.newest), channel.living, channel.gone, channel.bytes,
    whole(channel.oldest)}, ':'))
else
  -- Of channels of this kind without rows, the horizon is one number.
  local all = kind .. ':'
  local horizon = math.max(tonumber(call('HGET', items_key, all)) or 0, channel.horizon)
  s.items[1] = s.items[1] + call('HSET', items_key, all, whole(horizon))
  s.items[1] = s.items[1] - call('HDEL', items_key, channel.field)
end
save_items(call)
call('PUBLISH', KEYS[9],
  table.concat({s.epoch, whole(s.last), 'h', whole(channel.horizon)}, ':'))
return {s.epoch, whole(s.last), more and 'more' or '', store_time()}
