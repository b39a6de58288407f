-- Sets one item of an app that has neither ttl nor version nor owner, if nothing about it is
-- unusual: this builds no closure, and needs few commands. Otherwise, and once a second, all
-- is read and checked. The field of the channel is as in channel_items.lua.
if #ARGV == 17 and ARGV[9] == 'set' and ARGV[7] .. ARGV[14] .. ARGV[15] .. ARGV[16] == ''
    and ARGV[17] == '-' then
  local had = call('HMGET', store, 'life', 'epoch', 'last', 'checked', 'upto', 'age',
    'max_items', 'max_item_bytes')
  local before = call('GET', KEYS[3])
  local horizon, newest, living, gone, size, oldest = match(
    call('HGET', KEYS[4], ':' .. ARGV[8]) or '', '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
  local last, checked = tonumber(had[3]), tonumber(had[4])
  local given, given_bytes, most, most_bytes = match(ARGV[4], '^(%S+) (%S+) (%d+) (%d+)')
  most, most_bytes = had[7] or most, had[8] or most_bytes
  local item, data, type = ARGV[11], ARGV[12], ARGV[13]
  if horizon and had[1] == ARGV[2] and last and last < greatest_number and checked
      and math.abs(clock - math.abs(checked)) <= 1000000 and had[5] == '0'
      and before and tonumber(match(before, '^%d+')) < tonumber(ARGV[3])
      and (given == '-' or (given == most and given_bytes == most_bytes))
      and (gone == '0' or tonumber(oldest) >= last - had[6]) then
    local old = call('HGET', KEYS[7], item)
    local ttl, owner, length, start = match(old or '',
      '^%d+:%w+:%d*:%d*:(%d*):(%d+):(%d+):()')
    if start then
      size = size - (#old - start + 1)
    elseif not old and try('HLEN', KEYS[7]) == living + gone then
      living, ttl, owner = living + 1, '', '0'
      size = size + 100 + #item
    end
    size = size + #type + #data
    if ttl == '' and owner == '0' and size <= tonumber(most_bytes)
        and tonumber(living) <= tonumber(most)
        and (not old or string.sub(old, start, start + length - 1) ~= 'push:unset') then
      if checked < 0 then now = 0 end
      last = math.max(now, last + 1)
      local number = format('%.0f', last)
      call('HSET', KEYS[7], item, number .. ':' .. had[2] .. '::::0:' .. #type .. ':' .. type
        .. data)
      call('ZADD', KEYS[8], number, item)
      call('HSET', KEYS[4], ':' .. ARGV[8], horizon .. ':' .. number .. ':' .. living .. ':'
        .. gone .. ':' .. size .. ':' .. oldest)
      call('HSET', store, 'last', number)
      local done = '=' .. had[2] .. ':' .. number
      call('SET', KEYS[3], ARGV[3] .. ':' .. done, 'KEEPTTL')
      call('PUBLISH', KEYS[10], had[2] .. ':' .. number .. ':i' .. newest .. ':' .. #item
        .. ':' .. #type .. ':' .. item .. type .. data)
      return {had[2], done}
    end
  end
end
