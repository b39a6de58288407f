-- Finds rows that are due.
--
-- KEYS: the store, its heads; the channels with items, the deadlines, the owners. ARGV: words,
-- life, the bounds of items; and how many rows to find.
-- Returns the epoch, the last number, members of the deadlines, and the store's time.
-- include begin.lua
local items_key, deadlines_key, owners_key, kept = KEYS[3], KEYS[4], KEYS[5], ARGV[3]
-- include open_items.lua
save(fresh and call or try)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
local limit = tonumber(ARGV[4])
local function ends(from, upto, count)
  return call('ZRANGEBYSCORE', deadlines_key, from, whole(upto), 'WITHSCORES', 'LIMIT', 0, count)
end
local found = {}
-- Of rows that were set before a jump of the clock, these are due for certain. Of those whose
-- deadline is in what the jump has left out, or after it, some are: those that were set later.
local certain = item_time - s.upto + s.from
local ranges = {{'-inf', certain, limit}}
if s.upto > 0 then
  local after = math.max(s.upto, certain)
  ranges[2] = {'(' .. whole(after), item_time, 1000}
  ranges[3] = {'(' .. whole(certain), after, 1000}
end
for _, range in ipairs(deadlines > 0 and ranges or {}) do
  local members = ends(unpack(range))
  for i = 1, #members, 2 do
    local since = tonumber(match(members[i], '^%d+'))
    if #found < limit and is_over(since, members[i + 1] - since) then
      found[#found + 1] = members[i]
    end
  end
end
return {s.epoch, whole(s.last), found, store_time()}
