"""What runs inside of Redis: scripts that publish, that read, and that bridge.

Each call is one transaction. All keys of a store share one hash tag, and are named by
the store's *life*: where the key that holds the store is lost, another life begins, and
what is left of the last is never seen again.

``{push}:store``
    A hash: the epoch, the last number given, the retention, and so on.
``{push}:<life>:heads``
    A sorted set: each channel that holds events, by a number that is not after its
    oldest. So the store knows what it should have: a log that is not there any more,
    though its channel is here, was evicted.
``{push}:<life>:log:<channel>``
    A list of records ``number:prev:length of type:type, then data``.
``{push}:<life>:key:<length of channel>:<channel, then key>``
    The number that the event with this key has. Expires with the retention.
``{push}:<life>:call:<id>``
    What a call to publish came to, for a few seconds, so that it can be repeated.
``{push}:bridge:<bridge>``
    Who has the lease of a bridge, for as long as it goes. Who had it last stands in the
    store, as ``bridge:<bridge>``.

Each event is published on ``{push}:<database>:<channel>`` as ``epoch:`` and its record;
prev is empty if it is not stored.

A server that is not the one that the store was last seen on, or is itself but was
another's replica meanwhile, may have lost what was acknowledged: another epoch (law 3).
"""

from __future__ import annotations

_OPEN = """
local store, base = KEYS[1], string.sub(KEYS[1], 1, -6)
local spare, epoch, seen, thorough = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local names = {'epoch', 'life', 'server', 'checked', 'birth', 'last', 'floor',
  'channels', 'bytes', 'age', 'count', 'most'}
local s, changed = {}, {}
for i, value in ipairs(redis.call('HMGET', store, unpack(names))) do
  s[names[i]] = i > 3 and tonumber(value) or value
end
local function whole(number) return string.format('%.0f', number) end
local function set(name, value)
  s[name] = value
  changed[#changed + 1] = name
  changed[#changed + 1] = type(value) == 'number' and whole(value) or value
end
local function server()
  local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
  if string.find(info, 'role:slave', 1, true) then return nil end
  return (string.match(info, 'run_id:(%w+)') or '')
    .. (string.match(info, 'master_replid:(%w+)') or '')
end
local READONLY = {err = 'READONLY This is a replica.'}
local heads = s.life and base .. s.life .. ':heads'
local new = not s.last or redis.call('ZCARD', heads) ~= s.channels
if new or thorough == '1' or math.abs(now - s.checked) > 1000000 then
  local here = server()
  if not here then return READONLY end
  if new then
    set('life', spare)
    set('birth', math.max(now, (s.last or 0) + 1))
    for _, name in ipairs({'last', 'floor'}) do set(name, s.birth) end
    for _, name in ipairs({'channels', 'bytes', 'checked'}) do set(name, 0) end
    heads = base .. s.life .. ':heads'
  end
  -- The server may be ahead of what has become of the store: it went back in time.
  if new or here ~= s.server or (epoch == s.epoch and seen > s.last) then
    set('epoch', spare)
    set('server', here)
  end
end
local fresh = s.epoch == spare
for i, name in ipairs({'age', 'count', 'most'}) do
  local given = tonumber(ARGV[4 + i]) or (not s[name] and tonumber(ARGV[7 + i]))
  if given and given ~= s[name] then set(name, given) end
end
local function log(channel) return base .. s.life .. ':log:' .. channel end
local function numbers(record) return string.match(record, '^(%d+):(%d+)') end
-- An evicted log: what it had is forgotten, and since this number all is known.
local function lost()
  set('bytes', math.floor(s.bytes * (s.channels - 1) / s.channels))
  set('channels', s.channels - 1)
  set('last', math.max(now, s.last + 1))
  set('floor', s.last)
end
"""

#: ARGV: call id, its seconds, where to publish; by event: channel, key, whether it is
#: stored, type, data.
_PUBLISH = """
local call = base .. s.life .. ':call:' .. ARGV[11]
local done = redis.call('GET', call)
if done then return {s.epoch, done} end
if math.abs(now - s.checked) > 1000000 then set('checked', now) end
local OVERHEAD, given, news, stored = 100, {}, {}, 0
local function dropped(channel)
  local record = redis.call('LPOP', log(channel))
  s.bytes = s.bytes - #record - OVERHEAD
  local number = numbers(record)
  redis.call('ZADD', heads, number, channel)
  return tonumber(number)
end
local function add(channel, kind, data)
  local newest, prev = redis.call('LINDEX', log(channel), -1), nil
  if newest then
    prev = numbers(newest)
  else
    if redis.call('ZSCORE', heads, channel) then lost() end
    prev = whole(s.floor)
  end
  s.last = math.max(now, s.last + 1)
  local number = whole(s.last)
  local record = number .. ':' .. prev .. ':' .. #kind .. ':' .. kind .. data
  local length = redis.call('RPUSH', log(channel), record)
  if not newest then
    redis.call('ZADD', heads, number, channel)
    s.channels = s.channels + 1
  end
  s.bytes = s.bytes + #record + OVERHEAD
  for _ = 1, math.min(8, length - s.count) do dropped(channel) end
  stored = stored + 1
  return record
end
for i = 14, #ARGV, 5 do
  local channel, key = ARGV[i], ARGV[i + 1]
  local same = base .. s.life .. ':key:' .. #channel .. ':' .. channel
    .. string.sub(key, 2)
  local number = key ~= '' and redis.call('GET', same)
  if not number then
    local record
    if ARGV[i + 2] == '1' then
      record = add(channel, ARGV[i + 3], ARGV[i + 4])
    else
      record = whole(s.last) .. '::' .. #ARGV[i + 3] .. ':' .. ARGV[i + 3] .. ARGV[i + 4]
    end
    news[#news + 1] = {ARGV[13] .. channel, s.epoch .. ':' .. record}
    number = whole(s.last)
    if key ~= '' then
      redis.call('SET', same, number, 'PX', math.ceil(s.age / 1000))
    end
  end
  given[#given + 1] = number
end
-- What is too old, or too many bytes: from the channel whose oldest is oldest.
for _ = 1, 8 * stored do
  local head = redis.call('ZRANGE', heads, 0, 0, 'WITHSCORES')
  local channel, score = head[1], tonumber(head[2])
  if not channel then break end
  if s.bytes <= s.most and score >= s.last - s.age then break end
  local first = redis.call('LINDEX', log(channel), 0)
  local number = first and tonumber((numbers(first)))
  if not first then
    lost()
    redis.call('ZREM', heads, channel)
  elseif number > score then
    redis.call('ZADD', heads, whole(number), channel)
  elseif number == s.last then
    break
  else
    dropped(channel)
    if redis.call('EXISTS', log(channel)) == 0 then
      redis.call('ZREM', heads, channel)
      s.channels = s.channels - 1
      s.floor = math.max(s.floor, number)
    end
  end
end
if stored > 0 then
  if s.channels == 0 then s.bytes = 0 end
  for _, name in ipairs({'last', 'floor', 'channels', 'bytes'}) do set(name, s[name]) end
end
if #changed > 0 then redis.call('HSET', store, unpack(changed)) end
done = table.concat(given, ',')
if #given > 0 then redis.call('SET', call, done, 'EX', ARGV[12]) end
for _, pair in ipairs(news) do redis.call('PUBLISH', pair[1], pair[2]) end
return {s.epoch, done}
"""

PUBLISH = _OPEN + _PUBLISH

#: ARGV: as for PUBLISH, and behind it the bridge; its holder, which is a name, a dot and
#: how many times it has taken the lease; milliseconds for which it goes; where to say
#: that it was taken, or nothing if it is to be had already; and whether the bridge is
#: known to have run. What comes back has a third item if nothing was done, for the lease
#: is another's.
#:
#: Whoever had it last still has it if it has run out since: nobody else has published.
#: Taking it publishes the events, which is a gap, only if the bridge has run before.
BRIDGE = (
    _OPEN
    + """
local lease = {}
for i = 5, 1, -1 do lease[i] = table.remove(ARGV) end
local bridge, holder, going, taken, ran = unpack(lease)
local function name(of) return string.match(of, '^[^.]*') end
local has = redis.call('GET', base .. 'bridge:' .. bridge)
local last = redis.call('HMGET', store, 'bridge:' .. bridge)[1]
if taken == '' then
  if last ~= holder or (has and has ~= holder) then return {s.epoch, '', 'theirs'} end
else
  if has and name(has) ~= name(holder) then return {s.epoch, '', 'theirs'} end
  if not last and ran == '0' then
    while #ARGV > 13 do table.remove(ARGV) end
  end
  set('bridge:' .. bridge, holder)
  redis.call('PUBLISH', taken, holder)
end
redis.call('SET', base .. 'bridge:' .. bridge, holder, 'PX', going)
"""
    + _PUBLISH
)

#: ARGV: after or an empty string, last, bytes after which it is full, whether all has to
#: be there; channels. What comes back: epoch, end, floor, birth, age, after, how far it
#: reaches; since and the reason, by channel, or nothing if all is there and was asked
#: for; and in the order of numbers, the index of a channel and a record, by turns.
READ = (
    _OPEN
    + """
local after, last, limit = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local joining = ARGV[14] == '1'
local channels, firsts, evicted = {}, {}, {}
for i = 15, #ARGV do
  local channel = ARGV[i]
  channels[#channels + 1] = channel
  firsts[channel] = redis.call('LINDEX', log(channel), 0)
  if not firsts[channel] and redis.call('ZSCORE', heads, channel) then
    lost()
    evicted[#evicted + 1] = channel
  end
end
if #changed > 0 then
  -- Where nothing can be written, what is there can still be read.
  local save = (fresh or #evicted > 0) and redis.call or redis.pcall
  save('HSET', store, unpack(changed))
end
if #evicted > 0 then redis.call('ZREM', heads, unpack(evicted)) end
local since, greatest = {}, 0
for _, channel in ipairs(channels) do
  local _, prev = numbers(firsts[channel] or '')
  since[channel] = prev or whole(s.floor)
  greatest = math.max(greatest, tonumber(since[channel]))
end
if not after then
  local newest = {}
  for _, channel in ipairs(last > 0 and channels or {}) do
    for _, record in ipairs(redis.call('LRANGE', log(channel), -last, -1)) do
      newest[#newest + 1] = tonumber((numbers(record)))
    end
  end
  table.sort(newest, function(a, b) return a > b end)
  local earliest = newest[math.min(last, #newest)]
  after = earliest and math.max(earliest - 1, greatest) or s.last
end
local function start(list)
  local low, high = 0, redis.call('LLEN', list)
  local newest = high > 0 and redis.call('LINDEX', list, -1)
  if not newest or tonumber((numbers(newest))) <= after then return nil end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber((numbers(redis.call('LINDEX', list, middle)))) > after then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end
-- The channels' next records, the one with the least number first: a binary heap.
local heap = {}
local function sift(i, item)
  while true do
    local child = 2 * i
    if child < #heap and heap[child + 1][1] < heap[child][1] then child = child + 1 end
    if child > #heap or item[1] <= heap[child][1] then break end
    heap[i], i = heap[child], child
  end
  heap[i] = item
end
for i, channel in ipairs(channels) do
  local list = log(channel)
  local index = start(list)
  if index then
    local record = redis.call('LINDEX', list, index)
    heap[#heap + 1] = {tonumber((numbers(record))), i, list, index, record}
  end
end
for i = math.floor(#heap / 2), 1, -1 do sift(i, heap[i]) end
local reply = {s.epoch, whole(s.last), whole(s.floor), whole(s.birth), whole(s.age),
  whole(after), whole(s.last), {}, {}}
local proofs, records, reached = reply[8], reply[9], nil
while #heap > 0 do
  local item = heap[1]
  if joining and #item[5] > limit or limit <= 0 and reached then
    reply[7] = whole(reached or after)
    break
  end
  records[#records + 1] = item[2]
  records[#records + 1] = item[5]
  limit = limit - #item[5] - 64
  reached = item[1]
  local record = redis.call('LINDEX', item[3], item[4] + 1)
  if record then
    sift(1, {tonumber((numbers(record))), item[2], item[3], item[4] + 1, record})
  else
    local rest = table.remove(heap)
    if #heap > 0 then sift(1, rest) end
  end
end
if joining and greatest <= after and reply[7] == reply[2] then return reply end
if joining then reply[9] = {} end
for _, channel in ipairs(joining and {} or channels) do
  proofs[#proofs + 1] = since[channel]
  proofs[#proofs + 1] = firsts[channel] and 'trimmed' or 'unknown'
end
if joining then reply[7] = '0' end
return reply
"""
)
