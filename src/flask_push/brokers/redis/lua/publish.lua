-- Publishes events, and remembers the call, so that the caller can repeat it.
--
-- KEYS: the store, its heads, the caller, and the runs'. ARGV: words, life, the number of
-- the call, and the runs. Returns reply.lua's values.
-- include begin.lua
local at, first = 4, 4
-- include runs.lua
local before = call('GET', KEYS[3])
if before then
  local which, done = match(before, '^(%d+):(.*)$')
  if which == ARGV[3] then return {epoch, done} end
  -- A later call of the caller came first, so the caller no longer waits for this one.
  if tonumber(which) > tonumber(ARGV[3]) then return {epoch, ''} end
else
  local log_key, channel_key = KEYS[4], KEYS[5]
  -- include permission.lua
end
-- include check.lua
-- include store.lua
-- The time to live is set only once, because that is half of the cost. The caller takes
-- another name before it is over.
local value = ARGV[3] .. ':' .. done
if before then
  call('SET', KEYS[3], value, 'KEEPTTL')
else
  call('SET', KEYS[3], value, 'EX', 60)
end
-- include reply.lua
