"""What runs inside of Redis: scripts that publish, bridge and prune.

Each call is one transaction. All keys of a store share one hash tag, and are named by
the store's *life*: where the key that holds the store is lost, another life begins, and
what is left of the last is never seen again. Whoever calls names all keys that a script
may touch, so it has to know the life, and is told if it does not.

``{push}:store``
    A hash: the life, the epoch, the last number given, the retention, and so on.
``{push}:<life>:heads``
    A sorted set: each channel that holds events, by a number that is not after its
    oldest. So the store knows what it should have: a log that is not there any more,
    though its channel is here, was evicted.
``{push}:<life>:log:<channel>``
    A list of records ``number:prev:length of type:length of data:type, then data``.
``{push}:<life>:key:<length of channel>:<channel, then key>``
    The number that the event with this key has. Expires with the retention.
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

What a script costs is its calls of the server, near a microsecond each, and then its
closures, which it builds anew each time. So publishing has none on its usual way, and
looks at the rest of the store only once a second, or where something is not usual.
"""

from __future__ import annotations

#: KEYS: the store, its heads. ARGV: words for `OPEN`, the life as far as it is known.
BEGIN = """
local call, format = redis.call, string.format
local store, heads = KEYS[1], KEYS[2]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local s, changed, set, lost
"""

#: All of the store, and whether it still is what it was.
OPEN = """
s, changed = {}, {}
set = function(name, value)
  s[name] = value
  changed[#changed + 1] = name
  changed[#changed + 1] = type(value) == 'number' and format('%.0f', value) or value
end
-- An evicted log: what it had is forgotten, and since this number all is known.
lost = function()
  set('bytes', math.floor(s.bytes * (s.channels - 1) / s.channels))
  set('channels', s.channels - 1)
  set('last', math.max(now, s.last + 1))
  set('floor', s.last)
end
local names = {'life', 'epoch', 'server', 'checked', 'birth', 'last', 'floor',
  'channels', 'bytes', 'oldest', 'age', 'count', 'most'}
for i, value in ipairs(call('HMGET', store, unpack(names))) do
  s[names[i]] = i > 3 and tonumber(value) or value
end
if s.life and s.life ~= ARGV[2] then
  return {'', format('%.0f', s.last), s.life}
end
local words = {}
for word in string.gmatch(ARGV[1], '%S+') do words[#words + 1] = word end
local spare, epoch, seen, thorough = unpack(words)
local new = not s.life or call('ZCARD', heads) ~= s.channels
if new or thorough == '1' or math.abs(now - s.checked) > 1000000 then
  local info = call('INFO', 'server') .. call('INFO', 'replication')
  if string.find(info, 'role:slave', 1, true) then
    return {err = 'READONLY This is a replica.'}
  end
  local server = (string.match(info, 'run_id:(%w+)') or '')
    .. (string.match(info, 'master_replid:(%w+)') or '')
  if new then
    set('life', spare)
    set('birth', math.max(now, (s.last or 0) + 1))
    for _, name in ipairs({'last', 'floor', 'oldest'}) do set(name, s.birth) end
    for _, name in ipairs({'channels', 'bytes', 'checked'}) do set(name, 0) end
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
"""

# What has changed is saved, and who has the wrong keys for it is told the right life.
_SAVE = """
if #changed > 0 then
  call('HSET', store, unpack(changed))
  changed = {}
end
if s.life ~= ARGV[2] then return {'', format('%.0f', s.last), s.life} end
"""

# Events come in runs, each with its keys, the log, where to publish, and if need be the
# key; and in ARGV with how many it has, a negative number if they are not stored, and 0
# or -0 for one that has a key; and then what each record ends with.
_RUNS = """
local match = string.match
local had = call('HMGET', store,
  'life', 'epoch', 'last', 'bytes', 'most', 'count', 'checked', 'channels')
local slow = had[1] ~= ARGV[2] or math.abs(now - had[7]) > 1000000
  or call('ZCARD', heads) ~= tonumber(had[8])
local size = #ARGV
if slow then
"""

_USUAL = """
end
local epoch, last, bytes = had[2], tonumber(had[3]), tonumber(had[4])
local most, count, due = tonumber(had[5]), tonumber(had[6]), false
if slow then
  epoch, last, bytes, most, count = s.epoch, s.last, s.bytes, s.most, s.count
  due = s.channels > 0 and s.oldest < last - s.age * 65 / 64
  if math.abs(now - s.checked) > 1000000 then
    call('HSET', store, 'checked', format('%.0f', now))
  end
end
"""

_PUBLISH = """
local k, a, done, stored = at, first, nil, false
while a <= size do
  local n, log, channel = tonumber(ARGV[a]), KEYS[k], KEYS[k + 1]
  local body, key, number, prev = ARGV[a + 1], nil, nil, nil
  k = k + 2
  if n == 0 then
    key, k, n = KEYS[k], k + 1, ARGV[a] == '0' and 1 or -1
    number = call('GET', key)
  end
  if number then
    n = 1
  elseif n < 0 then
    n, number, prev = -n, format('%.0f', last), ''
    -- Nobody is to hear of it where nothing can be written.
    call('HSET', store, 'last', number)
  else
    local newest = call('LINDEX', log, -1)
    if newest then
      prev = match(newest, '^%d+')
    else
      local name = string.sub(log, #heads)
      local more = call('HMGET', store, 'channels', 'floor', 'oldest', 'age')
      local channels = tonumber(more[1])
      prev, due = more[2], due or now - more[3] > more[4] * 65 / 64
      if call('ZSCORE', heads, name) then
        -- It was evicted, as in `lost`.
        bytes = math.floor(bytes * (channels - 1) / channels)
        channels, last = channels - 1, math.max(now, last + 1)
        prev = format('%.0f', last)
      end
      local head = format('%.0f', math.max(now, last + 1))
      call('HSET', store, 'channels', channels + 1, 'floor', prev)
      if channels == 0 then call('HSET', store, 'oldest', head) end
      call('ZADD', heads, head, name)
    end
    last = math.max(now, last + 1)
    number = format('%.0f', last)
    local record, length = number .. ':' .. prev .. ':' .. body, nil
    bytes = bytes + #record + 100
    if n == 1 then
      length = call('RPUSH', log, record)
    else
      local records, tail = {record}, number
      for i = 2, n do
        last = last + 1
        local next = format('%.0f', last)
        record = next .. ':' .. tail .. ':' .. ARGV[a + i]
        records[i], tail, bytes = record, next, bytes + #record + 100
      end
      length = call('RPUSH', log, unpack(records))
    end
    -- A few more than are to be kept, so that they go at once.
    local over = length - count
    if over > 0 and over > math.min(16, math.floor(count / 16)) then
      over = math.min(over, 16 + 2 * n)
      for _, old in ipairs(call('LRANGE', log, 0, over - 1)) do
        bytes = bytes - #old - 100
      end
      call('LTRIM', log, over, -1)
    end
    stored = true
  end
  if prev then
    if key then
      call('SET', key, number, 'PX', math.ceil(call('HGET', store, 'age') / 1000))
    end
    if n > 1 then body = table.concat(ARGV, '', a + 1, a + n) end
    call('PUBLISH', channel, epoch .. ':' .. number .. ':' .. prev .. ':' .. body)
  end
  done = done and done .. ',' .. number or number
  a = a + n + 1
end
done = done or ''
if stored then call('HSET', store, 'last', format('%.0f', last), 'bytes', bytes) end
"""

_REPLY = """
if due or bytes > most then return {epoch, done, 'prune'} end
return {epoch, done}
"""

#: KEYS: the store, its heads, the caller, and the runs'. ARGV: words, life, which call
#: of the caller it is, and the runs.
PUBLISH = (
    BEGIN
    + "local at, first = 4, 4"
    + _RUNS
    + OPEN
    + _SAVE
    + _USUAL
    + """
local before = call('GET', KEYS[3])
if before then
  local which, done = match(before, '^(%d+):(.*)$')
  if which == ARGV[3] then return {epoch, done} end
  -- It comes after another that was sent later, and nobody waits for it any more.
  if tonumber(which) > tonumber(ARGV[3]) then return {epoch, ''} end
end
"""
    + _PUBLISH
    + """
-- Its time to live is set once, for that is half of the cost: callers have another name
-- before it is over.
local value = ARGV[3] .. ':' .. done
if before then
  call('SET', KEYS[3], value, 'KEEPTTL')
else
  call('SET', KEYS[3], value, 'EX', 60)
end
"""
    + _REPLY
)

#: KEYS: the store, its heads, the lease, where to say that it was taken, and the runs'.
#: ARGV: words, life, an empty string, the bridge; its holder, which is a name, a dot and
#: how many times it has taken the lease; milliseconds for which it goes; whether it is
#: being taken, and not to be had already; whether the bridge is known to have run; and
#: the runs.
#:
#: Whoever had it last still has it if it has run out since: nobody else has published.
#: Taking it publishes the events, which is a gap, only if the bridge has run before.
BRIDGE = (
    BEGIN
    + "local at, first = 5, 9"
    + _RUNS
    + OPEN
    + _SAVE
    + _USUAL
    + """
local bridge, holder, going, taken, ran = unpack(ARGV, 4, 8)
local has = call('GET', KEYS[3])
local latest = call('HGET', store, 'bridge:' .. bridge)
if taken == '0' then
  if latest ~= holder or (has and has ~= holder) then return {epoch, '', 'theirs'} end
else
  local name = match(has or holder, '^[^.]*')
  if name ~= match(holder, '^[^.]*') then return {epoch, '', 'theirs'} end
  if not latest and ran == '0' then size = 0 end
  call('HSET', store, 'bridge:' .. bridge, holder)
  call('PUBLISH', KEYS[4], holder)
end
call('SET', KEYS[3], holder, 'PX', going)
"""
    + _PUBLISH
    + _REPLY
)

#: KEYS: the store, its heads, the logs of channels that may lose what is too old, or too
#: many bytes. What comes back: the channels to be asked with next, if it is not done.
#:
#: The channel whose oldest is oldest goes first, and with it what it has of about the
#: same age; what is younger than the retention only where there are too many bytes.
PRUNE = (
    BEGIN
    + OPEN
    + _SAVE
    + """
local logs, done = {}, false
for i = 3, #KEYS do logs[string.sub(KEYS[i], #heads)] = KEYS[i] end
for _ = 1, 64 do
  local top = call('ZRANGE', heads, 0, 1, 'WITHSCORES')
  local channel, score = top[1], tonumber(top[2])
  local log = channel and logs[channel]
  local old, goal = s.last - s.age, s.most * 15 / 16
  done = not channel or (s.bytes <= goal and score >= old)
  if done or not log then break end
  local near = math.max(tonumber(top[4]) or 0, score + (s.last - score) / 64)
  local gone, number, next = 0, nil, nil
  local records = call('LRANGE', log, 0, 15)
  for _, record in ipairs(records) do
    next = tonumber(string.match(record, '^%d+'))
    -- The very last is kept, however large it is.
    local goes = next < old or (next <= near and s.bytes > goal and next < s.last)
    if not goes or (gone == 0 and next > score) then break end
    gone, number = gone + 1, next
    s.bytes = s.bytes - #record - 100
  end
  if gone > 0 then call('LTRIM', log, gone, -1) end
  if #records == 0 then
    lost()
    call('ZREM', heads, channel)
  elseif gone == #records and call('LLEN', log) == 0 then
    call('ZREM', heads, channel)
    set('channels', s.channels - 1)
    set('floor', math.max(s.floor, number))
  elseif gone == 0 and next == score then
    done = true
    break
  else
    call('ZADD', heads, format('%.0f', gone == #records and number or next), channel)
  end
end
if s.channels == 0 then s.bytes = 0 end
local head = call('ZRANGE', heads, 0, 0, 'WITHSCORES')
set('oldest', tonumber(head[2]) or s.last)
set('bytes', s.bytes)
call('HSET', store, unpack(changed))
return {s.epoch, done and {} or call('ZRANGE', heads, 0, 15)}
"""
)


def sharded(script: str) -> str:
    """For a Cluster: what is published stays with the node that has the slot, so that it
    comes in order to who listens there. All nodes would hear of it otherwise."""
    return script.replace("call('PUBLISH'", "call('SPUBLISH'")
