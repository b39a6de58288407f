-- Reads what a feed has missed, as read.lua does, for a hub that ends items.
--
-- Returns what read.lua does, but in place of since when the channels are complete: how many
-- rows of items have a deadline.
-- include begin.lua
-- include open.lua
local last_log = #KEYS
local function read_logs()
  -- include page.lua
end
local reply = read_logs()
if reply[1] ~= '' then
  local life, deadlines = match(call('HGET', store, 'items') or '', '^(%w+):%d+:(%d+)')
  reply[8] = {life == s.life and deadlines or '0'}
end
return reply
