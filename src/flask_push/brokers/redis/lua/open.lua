-- Reads all of the store's fields, and checks that the store is still the same: its life,
-- its server, its clock. A new life or epoch is called `spare`.
--
-- ARGV[1] has eleven words: a name for another epoch or life; the epoch and the last number
-- that the caller has seen, and whether to check the server in any case; the retention (age,
-- count, bytes) if the caller sets one, and the one for a new store; the store's time as
-- counted by the caller, or '-'.
s, changed = {}, {}
set = function(name, value)
  s[name] = value
  changed[name] = type(value) == 'number' and format('%.0f', value) or value
end
save = function(do_it)
  local pairs_of = {'HSET', store}
  for name, value in pairs(changed) do
    pairs_of[#pairs_of + 1] = name
    pairs_of[#pairs_of + 1] = value
  end
  changed = {}
  if #pairs_of > 2 then do_it(unpack(pairs_of)) end
end
-- `count` logs were evicted. Their events are forgotten: from this number on, the channels
-- are complete again.
lost = function(count)
  leap()
  set('bytes', math.floor(s.bytes * (s.channels - count) / s.channels))
  set('channels', s.channels - count)
  set('last', math.max(now, s.last + 1))
  set('floor', s.last)
end
-- Note a jump of the clock, before an event gets a number of now.
leap = function()
  if now - s.last > slack and not sure and s.channels + s.keys > 0 then
    if s.upto == 0 then
      set('from', s.last)
      set('doubt', 1)
    end
    set('upto', now)
  end
end
-- The store's time, from which the caller will count. A question mark says that it is in
-- doubt, because the clock has jumped.
store_time = function()
  local known = s.doubt == 0 and (sure or now - s.last <= slack)
  return (known and '' or '?') .. format('%.0f', now)
end
-- Events before this number are too old.
old = function()
  local number = s.last - s.age
  return number < s.upto and number - s.upto + s.from or number
end
if clock > greatest_number then
  return {err = 'ERR The clock of the server is beyond the year 2255.'}
end
local names = {'life', 'epoch', 'server', 'checked', 'birth', 'last', 'floor',
  'channels', 'bytes', 'oldest', 'age', 'count', 'most', 'keys', 'ahead', 'from', 'upto',
  'doubt'}
local broken = false
for i, value in ipairs(call('HMGET', store, unpack(names))) do
  if i > 3 then value = tonumber(value) end
  s[names[i]] = value
  broken = broken or (i > 3 and i < 11 and not s[names[i]])
end
for i = 14, 18 do s[names[i]] = s[names[i]] or 0 end
broken = broken or s.last > greatest_number
if s.life and s.life ~= ARGV[2] then
  return {'', format('%.0f', s.last or 0), s.life}
end
local words = {}
for word in string.gmatch(ARGV[1], '%S+') do words[#words + 1] = word end
local spare, epoch, seen, thorough = unpack(words)
local new = not s.life or broken or try('ZCARD', heads) ~= s.channels
if new or thorough == '1' or math.abs(clock - math.abs(s.checked)) > 1000000 then
  local info = call('INFO', 'server') .. call('INFO', 'replication')
  if string.find(info, 'role:slave', 1, true) then
    return {err = 'READONLY This is a replica.'}
  end
  local server = (match(info, 'run_id:(%w+)') or '')
    .. (match(info, 'master_replid:(%w+)') or '')
  if new then
    local last = s.last and s.last <= greatest_number and s.last or 0
    set('life', spare)
    set('birth', math.max(clock, last + 1))
    for _, name in ipairs({'last', 'floor', 'oldest'}) do set(name, s.birth) end
    for _, name in ipairs({'channels', 'bytes', 'checked', 'keys', 'ahead', 'from', 'upto',
        'doubt'}) do
      set(name, 0)
    end
  end
  -- The caller has seen a greater number than the store has: the store went back in time,
  -- for example to a backup.
  local went_back = epoch == s.epoch and tonumber(seen) > s.last
  if new or server ~= s.server or went_back then
    set('epoch', spare)
    set('server', server)
  end
end
local fresh = s.epoch == spare
for i, name in ipairs({'age', 'count', 'most'}) do
  local given = tonumber(words[4 + i]) or (not s[name] and tonumber(words[7 + i]))
  if given and given ~= s[name] then set(name, given) end
end
slack = math.max(60000000, s.age / 64)
-- A caller that was told the store's time may have counted since; then no clock has to be
-- believed, unless the store is further ahead. Otherwise the clock was put back, or was
-- corrected.
local counted = tonumber(words[11])
sure = counted and counted >= s.last - slack
now = clock + s.ahead
if sure and math.abs(counted - now) > slack then
  set('ahead', s.ahead + counted - now)
elseif now < s.last - slack then
  set('ahead', clock < s.last - slack and s.last - clock or 0)
  set('doubt', 0)
elseif s.ahead > 0 and clock >= s.last - slack then
  set('ahead', 0)
end
now = clock + s.ahead
-- A jump is over if the clock was put back before any number was given. It was none if the
-- clock goes on from there for a minute. And it no longer matters when all events before it
-- are too old.
if s.upto > 0 and ((s.doubt == 1 and (now > s.upto + 60000000
    or math.max(now, s.last) < s.upto)) or s.last - s.age > s.upto) then
  for _, name in ipairs({'from', 'upto', 'doubt'}) do set(name, 0) end
end
