"""The scripts that publish. ``_lua.py`` says what is kept, and under which names."""

from __future__ import annotations

from .scripts import BEGIN
from .scripts import OPEN
from .scripts import SAVE

# Events come in runs, each with its keys: the log, where to publish, and if its event has
# a key, where keys are. And in ARGV with how many it has, a negative number if they are
# not stored, or 0 or -0 and a member of the keys for one that has a key; and then what
# each record ends with.
_RUNS = """
local had = call('HMGET', store,
  'life', 'epoch', 'last', 'bytes', 'most', 'count', 'checked', 'channels')
local epoch, last, bytes = had[2], tonumber(had[3]), tonumber(had[4])
local most, count, checked = tonumber(had[5]), tonumber(had[6]), tonumber(had[7])
local slow = had[1] ~= ARGV[2] or not (last and bytes and most and count and checked)
  or math.abs(clock - math.abs(checked)) > 1000000 or last > greatest_number
  or try('ZCARD', heads) ~= tonumber(had[8])
local size, due = #ARGV, false
-- Where the clock is wrong, numbers follow each other until it is looked at again.
if not slow and checked < 0 then now = 0 end
if slow then
"""

_USUAL = """
  if math.abs(clock - math.abs(s.checked)) > 1000000 then
    -- A negative one says that the store's time is not the clock's.
    local checked = s.ahead == 0 and clock or -clock
    call('HSET', store, 'checked', format('%.0f', checked))
  end
  epoch, last, bytes, most, count = s.epoch, s.last, s.bytes, s.most, s.count
  due = s.channels + s.keys > 0 and s.oldest < old() - s.age / 64
end
"""

# What may be refused, before anything is stored; what a single run may be, its first
# command says.
_CHECK = """
local tails, known, keys, numbers = nil, nil, 0, nil
local k, a = at, first
if a <= size and a + math.abs(tonumber(ARGV[a])) ~= size then
  tails, numbers = {}, {}
  while a <= size do
    local n, log = tonumber(ARGV[a]), KEYS[k]
    if (n > 0 or ARGV[a] == '0') and tails[log] == nil then
      local newest = try('LINDEX', log, -1)
      local tail = newest and not newest.err and match(newest, '^(%d+):')
      if newest and not tail then
        return {err = 'WRONGTYPE The key ' .. log .. ' is no log of a channel.'}
      end
      tails[log] = tail or false
    end
    if n == 0 then
      known, n, k, a = KEYS[k + 2], 1, k + 1, a + 1
    end
    k, a = k + 2, a + math.abs(n) + 1
  end
end
if known then
  local card = try('ZCARD', known)
  if type(card) == 'table' then
    return {err = 'WRONGTYPE The key ' .. known .. ' does not hold keys of events.'}
  end
  keys = tonumber(call('HGET', store, 'keys')) or 0
  -- All were evicted.
  if card == 0 then bytes, keys = bytes - keys, 0 end
end
"""

# Who may not do all of it does nothing of it. Redis 6 can't tell, and stops halfway.
_MAY = """
if redis.acl_check_cmd then
  for _, words in ipairs({{'HSET', store, 'last', '1'}, {'ZADD', heads, '1', 'x'},
      {'RPUSH', log_key, 'x'}, {'LRANGE', log_key, '0', '0'},
      {'LTRIM', log_key, '0', '0'}, {'ZSCORE', heads, 'x'},
      {'SET', KEYS[3], 'x'}, {'PUBLISH', channel_key, 'x'}}) do
    if not redis.acl_check_cmd(unpack(words)) then
      return {err = 'NOPERM This user may not ' .. words[1] .. ' ' .. words[2]}
    end
  end
end
"""

# Once the first run is stored, the rest is, unless this user may not have it: then what is
# stored is saved, and said to be half of it.
_PUBLISH = """
local done, wrote, follows, refused = nil, false, false, nil
k, a = at, first
while a <= size do
  local n, log, channel, b = tonumber(ARGV[a]), KEYS[k], KEYS[k + 1], a + 1
  local stores, before, chained = n > 0 or ARGV[a] == '0', bytes, follows
  local member, number, prev, head = nil, nil, nil, nil
  k, follows = k + 2, false
  if n < 0 then n = -n end
  if n == 0 then
    member, b, n, k = ARGV[b], b + 1, 1, k + 1
    number = call('ZSCORE', known, member)
  end
  if number then
    chained = false
  elseif not stores then
    number, prev, chained = format('%.0f', last), '', false
    -- Nobody is to hear of it where nothing can be written.
    if not wrote then call('HSET', store, 'last', number) end
  else
    if tails then
      prev = tails[log]
    else
      local newest = try('LINDEX', log, -1)
      if newest then
        prev = not newest.err and match(newest, '^(%d+):')
        if not prev then
          return {err = 'WRONGTYPE The key ' .. log .. ' is no log of a channel.'}
        end
      end
    end
    if not prev then
      local name = string.sub(log, #heads)
      local more = call('HMGET', store, 'channels', 'floor', 'oldest', 'age', 'from',
        'upto', 'keys')
      local channels, upto = tonumber(more[1]), tonumber(more[6]) or 0
      local too_old = math.max(now, last + 1) - more[4] * 65 / 64
      if too_old < upto then too_old = too_old - upto + more[5] end
      due = due or (channels > 0 and tonumber(more[3]) < too_old)
      prev = more[2]
      if call('ZSCORE', heads, name) then
        -- It was evicted, as in `lost`.
        bytes = math.floor(bytes * (channels - 1) / channels)
        channels, last, chained = channels - 1, math.max(now, last + 1), false
        prev = format('%.0f', last)
      end
      bytes = bytes + channel_bytes
      head = {name, channels, (tonumber(more[7]) or 0) + channels == 0}
    end
    last = math.max(now, last + 1)
    number = format('%.0f', last)
    local record, length, tail = number .. ':' .. prev .. ':' .. ARGV[b], nil, number
    bytes = bytes + #record + 100
    if n == 1 then
      length = try('RPUSH', log, record)
    else
      local records = {record}
      for i = 1, n - 1 do
        last = last + 1
        local next = format('%.0f', last)
        record = next .. ':' .. tail .. ':' .. ARGV[b + i]
        records[i + 1], tail, bytes = record, next, bytes + #record + 100
      end
      length = try('RPUSH', log, unpack(records))
    end
    if type(length) == 'table' then
      refused, bytes = length, before
      break
    end
    if tails then tails[log] = tail end
    if head then
      call('ZADD', heads, number, head[1])
      call('HSET', store, 'channels', head[2] + 1, 'floor', prev)
      if head[3] then call('HSET', store, 'oldest', number) end
    end
    -- A few more than are to be kept, so that they go at once.
    local over = length - count
    if over > 0 and over > math.min(16, math.floor(count / 16)) then
      over = math.min(over, 16 + 2 * n)
      for _, gone in ipairs(call('LRANGE', log, 0, over - 1)) do
        bytes = bytes - #gone - 100
      end
      call('LTRIM', log, over, -1)
    end
    wrote, follows = true, true
  end
  if prev then
    if member then
      call('ZADD', known, number, member)
      local first_key = keys == 0
      keys, bytes = keys + key_bytes + #member, bytes + key_bytes + #member
      wrote = true
      if first_key and call('HGET', store, 'channels') == '0' then
        call('HSET', store, 'oldest', number)
      end
    end
    local body = n == 1 and ARGV[b] or table.concat(ARGV, '', b, b + n - 1)
    local told = try('PUBLISH', channel,
      epoch .. ':' .. number .. ':' .. prev .. ':' .. body)
    if type(told) == 'table' then
      refused = told
      break
    end
  end
  if numbers then
    -- Of what follows the event before it, nothing more need be said.
    numbers[#numbers + 1] = chained and '' or number
  else
    done = number
  end
  a = b + n
end
if wrote then
  call('HSET', store, 'last', format('%.0f', last), 'bytes', bytes)
  if known then call('HSET', store, 'keys', keys) end
end
if refused then return {err = (wrote and 'HALF ' or '') .. refused.err} end
done = numbers and table.concat(numbers, ',') or done or ''
"""

_REPLY = """
local prune = (due or bytes > most) and 'prune' or nil
if slow then return {epoch, done, prune or '', told()} end
return {epoch, done, prune}
"""

#: KEYS: the store, its heads, the caller, and the runs'. ARGV: words, life, which call
#: of the caller it is, and the runs. What comes back: the epoch, the number of each run's
#: first event, nothing for one that follows the event before it, whether to prune, and
#: now and then the store's time.
PUBLISH = (
    BEGIN
    + "local at, first = 4, 4"
    + _RUNS
    + OPEN
    + "leap()"
    + SAVE
    + _USUAL
    + """
local before = call('GET', KEYS[3])
if before then
  local which, done = match(before, '^(%d+):(.*)$')
  if which == ARGV[3] then return {epoch, done} end
  -- It comes after another that was sent later, and nobody waits for it any more.
  if tonumber(which) > tonumber(ARGV[3]) then return {epoch, ''} end
else
  local log_key, channel_key = KEYS[4], KEYS[5]
"""
    + _MAY
    + """
end
"""
    + _CHECK
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
#: Taking it publishes the events, which is a gap, only if the bridge has run before. One
#: that goes for longer than any was taken for is over: the clock was put back.
BRIDGE = (
    BEGIN
    + "local at, first = 5, 9"
    + _RUNS
    + OPEN
    + "leap()"
    + SAVE
    + _USUAL
    + """
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
"""
    + _CHECK
    + """
if taken ~= '0' then
  call('HSET', store, 'bridge:' .. bridge, holder)
  call('PUBLISH', KEYS[4], holder)
end
call('SET', KEYS[3], holder, 'PX', going)
"""
    + _PUBLISH
    + _REPLY
)
