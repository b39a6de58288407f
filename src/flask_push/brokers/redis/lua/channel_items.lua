-- The items of one channel, of which these are the keys: the rows by their items; the numbers
-- of living rows; and those of tombstones. The field of `items_key` has the horizon, the
-- number of the newest row, how many rows live and how many are tombstones, the bytes of those
-- that live, and the number of the oldest tombstone.
local function channel_items(kind, name, rows, order, unset)
  local channel = {kind = kind, name = name, rows = rows, order = order, unset = unset,
    field = kind .. ':' .. name, horizon = s.birth, newest = s.birth, living = 0, gone = 0,
    bytes = 0, oldest = 0, found = {}}
  local fields = s.items[1] > 0 and call('HGET', items_key, channel.field) or ''
  local horizon, newest, living, gone, bytes, oldest = match(fields,
    '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
  if horizon then
    channel.horizon, channel.newest = tonumber(horizon), tonumber(newest)
    channel.living, channel.gone = tonumber(living), tonumber(gone)
    channel.bytes, channel.oldest, channel.known = tonumber(bytes), tonumber(oldest), true
  elseif kind ~= '' and s.items[1] > 0 then
    -- It may have had rows that were forgotten.
    local least = tonumber(call('HGET', items_key, kind .. ':'))
    if least then channel.horizon = math.max(least, s.birth) end
  end
  return channel
end
local function horizon_of(channel)
  return (channel.known and '' or '-') .. whole(channel.horizon)
end
-- Whether its rows are all there. If they are not, they were evicted, or another program has
-- stored something of its own under a key.
local function is_there(channel)
  return count_of('HLEN', channel.rows) == channel.living + channel.gone
    and count_of('ZCARD', channel.order) == channel.living
    and count_of('ZCARD', channel.unset) == channel.gone
end
-- Forget the items of a channel, and begin another epoch. Its rows can't be read, so
-- their deadlines and owners are found among all others.
local function lose(channel)
  set('epoch', spare)
  fresh = true
  save(call)
  local place = sized(channel.name)
  for i, key in ipairs({deadlines_key, owners_key}) do
    local at = 0
    while true do
      local names, gone = call('ZRANGE', key, at, at + 999), 0
      for _, name in ipairs(names) do
        local kind, size, start = match(name, i == 1 and '^%d+:(%l*)():()' or '^(%l*):(%d+):()')
        -- Of the owner: its name, a colon, a number of 16 digits, and a colon.
        if i == 2 then start = start + size + 18 end
        if kind == channel.kind and string.sub(name, start, start + #place - 1) == place then
          gone = gone + call('ZREM', key, name)
        end
      end
      if #names < 1000 then break end
      at = at + 1000 - gone
    end
    s.items[i + 1] = call('ZCARD', key)
  end
  if count_of('HLEN', channel.rows) then call('DEL', channel.rows) end
  for _, key in ipairs({channel.order, channel.unset}) do
    if count_of('ZCARD', key) then call('DEL', key) end
  end
  s.items[1] = s.items[1] - call('HDEL', items_key, channel.field)
  save_items(call)
  return channel_items(channel.kind, channel.name, channel.rows, channel.order,
    channel.unset)
end
