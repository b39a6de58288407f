-- Takes or renews the lease of a bridge, and publishes events for its holder.
--
-- KEYS: the store, its heads, the lease, the channel on which to tell that it was taken, and
-- the runs'. ARGV: words, life, an empty string, the bridge; the holder, which is a name, a
-- dot and how often it has taken the lease; for how many milliseconds; whether to take the
-- lease, or to renew it; whether the bridge is known to have run; and the runs.
-- Returns reply.lua's values, or 'theirs' if another holder has the lease.
--
-- The last holder still has a lease that has run out, because no one else has published
-- since. Taking it publishes the events, which are a gap, only if the bridge has run before.
-- A lease that lasts longer than any is taken for is over: the clock was put back.
-- include begin.lua
local at, first = 5, 9
-- include runs.lua
local bridge, holder, going, taken, ran = unpack(ARGV, 4, 8)
local has = call('GET', KEYS[3])
local latest = call('HGET', store, 'bridge:' .. bridge)
if taken == '0' then
  if latest ~= holder or (has and has ~= holder) then return {epoch, '', 'theirs'} end
else
  if has and call('PTTL', KEYS[3]) > 2 * going then has = false end
  local name = match(has or holder, '^[^.]*')
  if name ~= match(holder, '^[^.]*') then return {epoch, '', 'theirs'} end
  if not latest and ran == '0' then size = 0 end
end
-- include check.lua
if taken ~= '0' then
  call('HSET', store, 'bridge:' .. bridge, holder)
  call('PUBLISH', KEYS[4], holder)
end
call('SET', KEYS[3], holder, 'PX', going)
-- include store.lua
-- include reply.lua
