"""What runs inside of Redis: what every script begins with, and what prunes.

Each call is one transaction. All keys of a store share one hash tag, and are named by
the store's *life*: where the key that holds the store is lost, another life begins, and
what is left of the last is never seen again. Whoever calls names all keys that a script
may touch, so it has to know the life, and is told if it does not.

``{push}:store``
    A hash: the life, the epoch, the last number given, the retention, and so on.
``{push}:<life>:heads``
    A sorted set: each channel that holds events, by a number that is not after its
    oldest. So the store knows what it should have: a log that is not there any more,
    though its channel is here, was evicted. So was one under whose key another program
    has stored something of its own.
``{push}:<life>:log:<channel>``
    A list of records ``number:prev:length of type:length of data:type, then data``.
``{push}:<life>:keys``
    A sorted set: ``length of channel:channel, then key`` of each event that has a key, by
    the event's number. The oldest go as the oldest events do. The field ``keys`` of the
    store has their bytes.
``{push}:<life>:call:<caller>``
    Which call of the caller was the last, and what it came to, so that it can be
    repeated. Calls of one caller come one after the other, and for half a minute; the
    key lives a minute.
``{push}:bridge:<bridge>``
    Who has the lease of a bridge, for as long as it goes. Who had it last stands in the
    store, as ``bridge:<bridge>``.

Events are published on ``{push}:<database>:<channel>``, those that are neighbours
together, as ``epoch:`` and their records without the numbers of all but the first; prev
is empty if they are not stored.

A server that is not the one that the store was last seen on, or is itself but was
another's replica meanwhile, may have lost what was acknowledged: another epoch (law 3).

Numbers are microseconds by the server's clock, which may be set, forward or back. So
whoever asks says what time it should be, if it was told before and has counted since, and
the store goes by that, and keeps by how much it is ``ahead`` of the clock. Where the first
to come after a jump knows nothing, numbers never go back, and those that a jump forward
has left out, ``from`` and ``upto``, are no time that has passed: nothing is too old because
of them, unless the clock still says so a minute later (``doubt``).

A script may not pass more than about 8,000 values to a function at once, so nothing that
can grow is unpacked whole. And it must not fail after its first write, for Redis takes
nothing back: whatever can be refused is asked for before.

What a script costs is its calls of the server, near a microsecond each, and then its
closures, which it builds anew each time. So publishing has none on its usual way, and
looks at the rest of the store only once a second, or where something is not usual.
"""

from __future__ import annotations

#: KEYS: the store, its heads. ARGV: words for `OPEN`, the life as far as it is known.
BEGIN = """
local call, try, format, match = redis.call, redis.pcall, string.format, string.match
local store, heads = KEYS[1], KEYS[2]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local clock = now
-- Beyond 2^53, which is in the year 2255, two numbers that follow each other are one.
local greatest_number = 9e15
-- What a channel counts beside its events, and a key beside its name.
local channel_bytes, key_bytes = 300, 120
local s, changed, set, save, lost, old, leap, slack, sure, told
"""

#: All of the store, and whether it still is what it was.
OPEN = """
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
-- So many evicted logs: what they had is forgotten, and since this number all is known.
lost = function(count)
  leap()
  set('bytes', math.floor(s.bytes * (s.channels - count) / s.channels))
  set('channels', s.channels - count)
  set('last', math.max(now, s.last + 1))
  set('floor', s.last)
end
-- A number of now is about to be given.
leap = function()
  if now - s.last > slack and not sure and s.channels + s.keys > 0 then
    if s.upto == 0 then
      set('from', s.last)
      set('doubt', 1)
    end
    set('upto', now)
  end
end
-- The time, for those who count from it. What a jump may have made of it is in doubt.
told = function()
  local known = s.doubt == 0 and (sure or now - s.last <= slack)
  return (known and '' or '?') .. format('%.0f', now)
end
-- What is before it is too old.
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
  -- The server may be ahead of what has become of the store: it went back in time.
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
-- Whoever asks may have counted the time since it was told the store's, and then nobody's
-- clock has to be believed; unless the store is beyond that. Otherwise the clock was put
-- back, or right again.
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
-- A jump is over if no number was given meanwhile, is none if the clock goes on from
-- there, and no longer matters when all before it is too old.
if s.upto > 0 and ((s.doubt == 1 and (now > s.upto + 60000000
    or math.max(now, s.last) < s.upto)) or s.last - s.age > s.upto) then
  for _, name in ipairs({'from', 'upto', 'doubt'}) do set(name, 0) end
end
"""

#: What has changed is saved, and who has the wrong keys for it is told the right life.
SAVE = """
save(call)
if s.life ~= ARGV[2] then return {'', format('%.0f', s.last), s.life} end
"""

#: KEYS: the store, its heads, its keys, the logs of channels that may lose what is too
#: old, or too many bytes. What comes back: the channels to be asked with next, if it is
#: not done.
#:
#: The channel whose oldest is oldest goes first, and with it what it has of about the
#: same age; what is younger than the retention only where there are too many bytes.
PRUNE = (
    BEGIN
    + OPEN
    + SAVE
    + """
local logs, done, known = {}, false, KEYS[3]
for i = 4, #KEYS do logs[string.sub(KEYS[i], #heads)] = KEYS[i] end
-- All of them were evicted, or what is there is not ours.
local keys = try('ZCARD', known)
if type(keys) == 'table' or keys == 0 then s.bytes, s.keys = s.bytes - s.keys, 0 end
for _ = 1, 64 do
  local top = call('ZRANGE', heads, 0, 1, 'WITHSCORES')
  local channel, score = top[1], tonumber(top[2])
  local log = channel and logs[channel]
  local goal, too_old = s.most * 15 / 16, old()
  local key = s.keys > 0 and tonumber(call('ZRANGE', known, 0, 0, 'WITHSCORES')[2])
  done = (not channel or score >= too_old) and (not key or key >= too_old)
    and (s.bytes <= goal or not (channel or key))
  if done then break end
  if key and key <= (score or key) then
    -- The oldest keys are older than any event.
    local oldest, gone = call('ZRANGE', known, 0, 99, 'WITHSCORES'), 0
    while oldest[2 * gone + 2] do
      local number = tonumber(oldest[2 * gone + 2])
      local goes = number < too_old or (s.bytes > goal and number <= (score or number))
      if not goes then break end
      gone = gone + 1
      local size = #oldest[2 * gone - 1] + key_bytes
      s.bytes, s.keys = s.bytes - size, s.keys - size
    end
    if gone == 0 then break end
    call('ZREMRANGEBYRANK', known, 0, gone - 1)
    if call('ZCARD', known) == 0 then s.bytes, s.keys = s.bytes - s.keys, 0 end
  elseif not log then
    break
  else
    local near = math.max(tonumber(top[4]) or 0, score + (s.last - score) / 64)
    local gone, number, next = 0, nil, nil
    local records = try('LRANGE', log, 0, 15)
    -- As good as none, if it is not ours.
    if records.err then records = {} end
    for _, record in ipairs(records) do
      next = tonumber(match(record, '^%d+') or 0)
      -- The very last is kept, however large it is.
      local goes = next < too_old or (next <= near and s.bytes > goal and next < s.last)
      if not goes or (gone == 0 and next > score) then break end
      gone, number = gone + 1, math.max(next, number or 0)
      s.bytes = s.bytes - #record - 100
    end
    if gone > 0 then call('LTRIM', log, gone, -1) end
    if #records == 0 then
      lost(1)
      call('ZREM', heads, channel)
    elseif gone == #records and call('LLEN', log) == 0 then
      call('ZREM', heads, channel)
      set('channels', s.channels - 1)
      set('floor', math.max(s.floor, number))
      s.bytes = s.bytes - channel_bytes
    elseif gone == 0 and next == score then
      done = true
      break
    else
      call('ZADD', heads, format('%.0f', gone == #records and number or next), channel)
    end
  end
end
if s.channels == 0 then s.bytes = s.keys end
local head = tonumber(call('ZRANGE', heads, 0, 0, 'WITHSCORES')[2])
local key = s.keys > 0 and tonumber(call('ZRANGE', known, 0, 0, 'WITHSCORES')[2])
set('oldest', math.min(head or s.last, key or s.last))
set('bytes', s.bytes)
set('keys', s.keys)
save(call)
return {s.epoch, done and {} or call('ZRANGE', heads, 0, 15)}
"""
)


def sharded(script: str) -> str:
    """For a Cluster: what is published stays with the node that has the slot, so that it
    comes in order to who listens there. All nodes would hear of it otherwise."""
    return script.replace("'PUBLISH'", "'SPUBLISH'")
