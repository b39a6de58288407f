-- Opens a store of which items are read or changed. All scripts of items include it.
--
-- Of all items, the store's field `items` has the life, the number of channels that have
-- some, of deadlines, and of rows that have an owner. A key that has not so many was evicted:
-- then nothing is known of any item, and another life begins.
--
-- `kept` has words: how many items a channel may have, and how many bytes, if the caller sets
-- it; the same for a new store; how many tombstones a channel keeps at least; how many items of
-- an own kind it may have, and how many bytes of them; and a kind, with the same, in turn.
local function whole(number) return format('%.0f', number) end
-- How many a key holds; nothing if another program has stored something of its own there.
local function count_of(command, key)
  local found = try(command, key)
  if type(found) ~= 'table' then return found end
  if not match(found.err, 'WRONGTYPE') then error(found.err, 0) end
  return nil
end
local item_channels, deadlines, owned = 0, 0, 0
local item_fields = call('HMGET', store, 'life', 'items', 'max_items', 'max_item_bytes')
local its_life, n1, n2, n3 = match(item_fields[2] or '', '^(%w+):(%d+):(%d+):(%d+)$')
if its_life == ARGV[2] and its_life == item_fields[1] then
  item_channels, deadlines, owned = tonumber(n1), tonumber(n2), tonumber(n3)
  if item_channels > 0 and (count_of('HLEN', items_key) ~= item_channels
      or count_of('ZCARD', deadlines_key) ~= deadlines
      or count_of('ZCARD', owners_key) ~= owned) then
    call('HDEL', store, 'life')
    item_channels, deadlines, owned = 0, 0, 0
  end
end
-- include open.lua
s.items = {item_channels, deadlines, owned}
local kept_words = {}
for word in string.gmatch(kept, '%S+') do kept_words[#kept_words + 1] = word end
local most_items, most_item_bytes = tonumber(kept_words[3]), tonumber(kept_words[4])
local own_bounds = {tonumber(kept_words[6]), tonumber(kept_words[7])}
local bounds_of_kinds = {}
for i = 8, #kept_words, 3 do
  bounds_of_kinds[kept_words[i]] = {tonumber(kept_words[i + 1]), tonumber(kept_words[i + 2])}
end
local min_tombstones = tonumber(kept_words[5])
for i, name in ipairs({'max_items', 'max_item_bytes'}) do
  local stored, given = tonumber(item_fields[2 + i]), tonumber(kept_words[i])
  if given and given ~= stored then set(name, given) end
  if i == 1 then
    most_items = given or stored or most_items
  else
    most_item_bytes = given or stored or most_item_bytes
  end
end
-- A jump of the clock must not end an item's time either.
local had_keys = s.keys
s.keys = had_keys + item_channels
leap()
s.keys = had_keys
local item_time = math.max(now, s.last)
-- Whether so many microseconds are over since then. What a jump of the clock has left out is
-- no time that has passed.
local function is_over(since, ttl)
  local over = since + ttl
  if since < s.upto then over = over + s.upto - math.max(s.from, since) end
  return over <= item_time
end
-- The parts of a row. Its data begins at `start`, and is not copied.
local function row_of(item, record)
  local number, epoch, version, since, ttl, a, b, start = match(record or '',
    '^(%d+):(%w+):(%d*):(%d*):(%d*):(%d+):(%d+):()')
  if not number then return nil end
  local middle = start + a
  local row = {item = item, number = number, epoch = epoch, version = version,
    since = since, ttl = ttl, owner = string.sub(record, start, middle - 1),
    type = string.sub(record, middle, middle + b - 1), start = middle + b, record = record}
  row.living = row.type ~= 'push:unset'
  row.size = row.living and #record - row.start + 1 + #row.type + #item + 100 or 0
  row.due = row.living and ttl ~= '' and is_over(tonumber(since), tonumber(ttl))
  return row
end
-- The parts of the names by which rows stand in the keys of all channels.
local function sized(text) return #text .. ':' .. text end
local function place_of(channel, item) return sized(channel.name) .. item end
local function deadline_of(channel, row)
  return row.since .. ':' .. channel.kind .. ':' .. place_of(channel, row.item)
end
local function owner_of(channel, row)
  return channel.kind .. ':' .. sized(row.owner) .. ':'
    .. string.rep('0', 16 - #row.number) .. row.number .. ':' .. place_of(channel, row.item)
end
local function save_items(do_it)
  local value = s.life .. ':' .. table.concat(s.items, ':')
  if value ~= item_fields[2] then do_it('HSET', store, 'items', value) end
end
-- include channel_items.lua
