-- Stores rows and publishes them. Then it removes tombstones that are too old or too many.
local function store_row(row)
  local channel, old, same = row.channel, row.old, row.same
  if same then
    row.number, row.epoch = same.number, same.epoch
  else
    last = math.max(now, last + 1)
    row.number, row.epoch = whole(last), epoch
  end
  call('HSET', channel.rows, row.item, table.concat({row.number, row.epoch, row.version,
    row.since, row.ttl, #row.owner, #row.type, row.owner .. row.type .. row.data}, ':'))
  wrote = true
  if not same then
    call('ZADD', row.living and channel.order or channel.unset, row.number, row.item)
    if old and old.living ~= row.living then
      call('ZREM', old.living and channel.order or channel.unset, row.item)
    end
  end
  if old and old.ttl ~= '' then
    s.items[2] = s.items[2] - call('ZREM', deadlines_key, deadline_of(channel, old))
  end
  if row.ttl ~= '' then
    s.items[2] = s.items[2] + call('ZADD', deadlines_key, whole(row.since + row.ttl),
      deadline_of(channel, row))
  end
  if not same then
    if old and old.owner ~= '' then
      s.items[3] = s.items[3] - call('ZREM', owners_key, owner_of(channel, old))
    end
    if row.owner ~= '' then
      s.items[3] = s.items[3] + call('ZADD', owners_key, '0', owner_of(channel, row))
    end
    call('PUBLISH', channel.publishes_on, table.concat({epoch, row.number,
      'i' .. whole(channel.newest), #row.type, row.type .. #row.item .. ' ' .. #row.data,
      row.item .. row.data}, ':'))
    channel.newest, channel.stored = last, true
  end
end
-- Their number is the channel's horizon then. The newest row is kept.
local function forget_tombstones(channel)
  local too_old, horizon = last - s.age, nil
  if too_old < s.upto then too_old = too_old - s.upto + s.from end
  if channel.gone == 0 then channel.oldest = 0 end
  while channel.gone > 0 and (channel.oldest < too_old
      or channel.gone > math.max(min_tombstones, channel.living)) do
    local oldest = call('ZRANGE', channel.unset, 0, 99, 'WITHSCORES')
    local gone = {}
    for i = 1, #oldest, 2 do
      local number = tonumber(oldest[i + 1])
      local over = channel.gone - #gone - math.max(min_tombstones, channel.living)
      channel.oldest = number
      if number == channel.newest or (number >= too_old and over <= 0) then break end
      gone[#gone + 1], horizon = oldest[i], number
    end
    if #gone == 0 then break end
    call('HDEL', channel.rows, unpack(gone))
    call('ZREMRANGEBYRANK', channel.unset, 0, #gone - 1)
    channel.gone = channel.gone - #gone
  end
  if not horizon then return end
  channel.horizon = math.max(channel.horizon, horizon)
  call('PUBLISH', channel.publishes_on,
    table.concat({epoch, whole(last), 'h', whole(channel.horizon)}, ':'))
end
-- A Redis looks for the names in a small key one after the other. A name of more than 64 bytes
-- gives the key its other form, for good.
local function index_names(channel)
  local name = string.rep('-', 65)
  call('ZADD', channel.order, '0', name)
  call('ZREM', channel.order, name)
  call('HSET', channel.rows, name, '')
  call('HDEL', channel.rows, name)
end
-- Stores what has changed beside the rows.
local function store_counts(do_it)
  for _, channel in ipairs(channels) do
    if channel.stored then
      if not channel.known then s.items[1] = s.items[1] + 1 end
      do_it('HSET', items_key, channel.field, table.concat({whole(channel.horizon),
        whole(channel.newest), channel.living, channel.gone, channel.bytes,
        whole(channel.oldest)}, ':'))
    end
  end
  local value = s.life .. ':' .. table.concat(s.items, ':')
  do_it('HSET', store, 'last', whole(last), 'items', value)
end
