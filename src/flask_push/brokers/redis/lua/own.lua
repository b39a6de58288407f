-- Looks up a log of Flask-Push's own: its horizon, the number of its newest entry, and how
-- many entries and bytes of data it has. The store knows this in a field that begins with
-- the life: those of another life have none.
--
-- If the entries are not all there, the log was evicted, or another program has stored
-- something of its own under its key. Then each entry that the store knows of has expired.
local function whole(number) return format('%.0f', number) end
local horizon, newest, count, size = s.birth, s.birth, 0, 0
local its_life, fields = match(call('HGET', store, 'own:' .. name) or '', '^(%w+):([%d:]+)$')
if its_life == s.life then
  horizon, newest, count, size = match(fields, '^(%d+):(%d+):(%d+):(%d+)$')
  horizon, newest = tonumber(horizon), tonumber(newest)
  count, size = tonumber(count), tonumber(size)
end
local length = try('LLEN', log_key)
local evicted = length ~= count
if not evicted and count > 0 then
  evicted = match(call('LINDEX', log_key, -1), '^%d+') ~= whole(newest)
end
if evicted then horizon, count, size = newest, 0, 0 end
