-- Stores events and changes of items, in their order, and publishes them. It remembers the
-- call as publish.lua does.
--
-- KEYS: the store, its heads, the caller; the channels with items, the deadlines, the owners;
-- of each channel, its rows, the numbers of living ones, those of tombstones, and the channel to
-- publish on; and the runs'. ARGV: words, life, the number of the call;
-- the bounds of items; how many channels there are, and the index of the first run; kind and
-- name of each channel; the steps; and the runs. A step is one of these:
-- - the word `runs`, and how many of the ARGV they take;
-- - a word (set, unset or due), the index of a channel, the item, its data, its type, for how
--   many microseconds or an empty string, its version, its owner, and what is expected: a
--   hyphen for nothing, or an equals sign with a number, a colon and an epoch, or without;
-- - the word `sets`, the index of a channel, how many items are set that have nothing but data
--   and the same type, and the type; of each item its length, a space, and the length of its
--   data, with commas; the items; and their data.
-- Returns the epoch; with commas, the number of each run and, after an equals sign, the epoch
-- and the number of each change; `prune` or nothing; and the store's time. If all numbers
-- follow the first, that stands alone, after a plus sign. If it did nothing, it returns
-- `conflict`, and in place of the numbers the index of a change and the id of its row; or
-- `full`, and the index of a channel, its bounds, and its rows and their bytes, before and
-- after.
-- include begin.lua
-- Of a channel with more items, the keys are made so that each is found quickly.
local few = 32
-- include simple_sets.lua
local items_key, deadlines_key, owners_key, kept = KEYS[4], KEYS[5], KEYS[6], ARGV[4]
local channels, at, first, size = {}, 7, tonumber(ARGV[6]), #ARGV
local before = call('GET', KEYS[3])
if not before then
  -- include change_permission.lua
end
-- include open_items.lua
if math.abs(clock - math.abs(s.checked)) > 1000000 then
  -- As in runs.lua.
  set('checked', s.ahead == 0 and clock or -clock)
end
save(call)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
if before then
  local which, done = match(before, '^(%d+):(.*)$')
  if which == ARGV[3] then return {s.epoch, done} end
  -- A later call of the caller came first, so the caller no longer waits for this one.
  if tonumber(which) > tonumber(ARGV[3]) then return {s.epoch, ''} end
end
for i = 1, tonumber(ARGV[5]) do
  local kind = ARGV[5 + 2 * i]
  local channel = channel_items(kind, ARGV[6 + 2 * i], unpack(KEYS, at, at + 2))
  if not is_there(channel) then
    for k = at, at + 2 do
      if not count_of(k == at and 'HLEN' or 'ZCARD', KEYS[k]) then
        return {err = 'WRONGTYPE The key ' .. KEYS[k] .. ' holds no items.'}
      end
    end
    channel = lose(channel)
  end
  channel.publishes_on = KEYS[at + 3]
  channel.before = {channel.living, channel.bytes}
  channels[i], at = channel, at + 4
end
local epoch, last, bytes, most, count = s.epoch, s.last, s.bytes, s.most, s.count
local due = s.channels + s.keys > 0 and s.oldest < old() - s.age / 64
-- include check.lua
if first <= size and not tails then
  -- There is only one run, but rows may be stored before it.
  local log = KEYS[at]
  local newest = try('LINDEX', log, -1)
  local tail = newest and not newest.err and match(newest, '^(%d+):')
  if newest and not tail then
    return {err = 'WRONGTYPE The key ' .. log .. ' is no log of a channel.'}
  end
  tails = {[log] = tail or false}
end
-- include steps.lua
local done, wrote = {}, false
-- include store_rows.lua
-- Runs up to this one of the ARGV.
local function store_runs(size)
  -- include store.lua
  at, first = k, a
  return done
end
local function store_all()
  for _, step in ipairs(steps) do
    if step.runs then
      numbers = {}
      local stored = store_runs(step.runs)
      if type(stored) == 'table' then error(stored, 0) end
      done[#done + 1], wrote = stored, true
    else
      for _, row in ipairs(step) do store_row(row) end
      local row = step.row
      done[#done + 1] = '=' .. (row and row.epoch .. ':' .. row.number
        or epoch .. ':' .. whole(last))
    end
  end
  for _, channel in ipairs(channels) do
    if channel.stored then
      forget_tombstones(channel)
      if channel.before[1] <= few and channel.living > few then index_names(channel) end
    end
  end
end
local ok, refused = pcall(store_all)
if wrote then store_counts(ok and call or try) end
if not ok then
  local text = type(refused) == 'table' and refused.err or tostring(refused)
  return {err = (wrote and not match(text, '^HALF ') and 'HALF ' or '') .. text}
end
done = table.concat(done, ',')
local value = ARGV[3] .. ':' .. done
if before then
  call('SET', KEYS[3], value, 'KEEPTTL')
else
  call('SET', KEYS[3], value, 'EX', 60)
end
return {epoch, done, (due or bytes > most) and 'prune' or '', store_time()}
