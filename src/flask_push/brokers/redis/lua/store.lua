-- Stores and publishes the runs. If the first run is stored, the others are too, unless this
-- user may not write them: then it saves what is stored, and the error begins with HALF.
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
    -- If the server refuses writes, it must not send the event either.
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
        -- The log was evicted, as in `lost`.
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
    -- Keep a few more than `count`, and remove them together.
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
    local sent = try('PUBLISH', channel,
      epoch .. ':' .. number .. ':' .. prev .. ':' .. body)
    if type(sent) == 'table' then
      refused = sent
      break
    end
  end
  if numbers then
    -- An event that follows the one before it has the next number.
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
