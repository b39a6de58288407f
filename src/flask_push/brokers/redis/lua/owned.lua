-- Finds the rows of an owner, in the order of their numbers.
--
-- KEYS: the store, its heads; the channels with items, the deadlines, the owners. ARGV: words,
-- life, the bounds of items; the beginning of the owner's members, and how many rows to find.
-- Returns the epoch, the last number, members of the owners, and the store's time.
-- include begin.lua
local items_key, deadlines_key, owners_key, kept = KEYS[3], KEYS[4], KEYS[5], ARGV[3]
-- include open_items.lua
save(fresh and call or try)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
local found = {}
if owned > 0 then
  -- No text has the byte 255.
  found = call('ZRANGEBYLEX', owners_key, '[' .. ARGV[4], '(' .. ARGV[4] .. '\255', 'LIMIT', 0,
    ARGV[5])
end
return {s.epoch, whole(s.last), found, store_time()}
