-- Sets items of one channel of an app that have the same type and neither ttl nor version nor
-- owner, if nothing about them is unusual: this builds no closure, and needs as many commands
-- for many items as for one. Otherwise, and once a second, all is read and checked. The field
-- of the channel is as in channel_items.lua.
if ARGV[9] == 'sets' and ARGV[7] == '' and #ARGV == 13 + 2 * ARGV[11] then
  local count = tonumber(ARGV[11])
  local had = call('HMGET', store, 'life', 'epoch', 'last', 'checked', 'upto', 'age',
    'max_items', 'max_item_bytes')
  local before = call('GET', KEYS[3])
  local horizon, newest, living, gone, size, oldest = match(
    call('HGET', KEYS[4], ':' .. ARGV[8]) or '', '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
  local last, checked = tonumber(had[3]), tonumber(had[4])
  local given, given_bytes, most, most_bytes = match(ARGV[4], '^(%S+) (%S+) (%d+) (%d+)')
  most, most_bytes = had[7] or most, had[8] or most_bytes
  if horizon and had[1] == ARGV[2] and last and last < greatest_number and checked
      and math.abs(clock - math.abs(checked)) <= 1000000 and had[5] == '0'
      and before and tonumber(match(before, '^%d+')) < tonumber(ARGV[3])
      and (given == '-' or (given == most and given_bytes == most_bytes))
      and (gone == '0' or tonumber(oldest) >= last - had[6]) then
    local sub, find = string.sub, string.find
    local word, usual, added = ARGV[12], true, 0
    for i, old in ipairs(call('HMGET', KEYS[7], unpack(ARGV, 14, 13 + count))) do
      if old then
        -- Behind a number of 16 digits and an epoch of 5 letters. A tombstone has no data.
        local colon = sub(old, 23, 28) == '::::0:' and find(old, ':', 29, true)
        if not colon or (#old == colon + 10 and sub(old, colon + 1) == 'push:unset') then
          usual = false
          break
        end
        size = size - (#old - colon)
      else
        added, size = added + 1, size + 100 + #ARGV[13 + i]
      end
      size = size + #word + #ARGV[13 + count + i]
    end
    if usual and added > 0 then
      -- Above `few`, the keys get another form.
      usual = try('HLEN', KEYS[7]) == living + gone
        and (living + added <= few or tonumber(living) > few)
      living = living + added
    end
    if usual and size <= tonumber(most_bytes) and tonumber(living) <= tonumber(most) then
      if checked < 0 then now = 0 end
      local first, rows, order = math.max(now, last + 1), {}, {}
      local middle = ':' .. had[2] .. '::::0:' .. #word .. ':' .. word
      for i = 1, count do
        local number, item = format('%.0f', first + i - 1), ARGV[13 + i]
        order[2 * i - 1], order[2 * i] = number, item
        rows[2 * i - 1], rows[2 * i] = item, number .. middle .. ARGV[13 + count + i]
      end
      local number = order[2 * count - 1]
      -- It is refused, or none of these is.
      call('ZADD', KEYS[8], unpack(order))
      call('HSET', KEYS[7], unpack(rows))
      call('HSET', KEYS[4], ':' .. ARGV[8], horizon .. ':' .. number .. ':' .. living .. ':'
        .. gone .. ':' .. size .. ':' .. oldest)
      call('HSET', store, 'last', number)
      local done = '+' .. had[2] .. ':' .. order[1]
      call('SET', KEYS[3], ARGV[3] .. ':' .. done, 'KEEPTTL')
      local sent = try('PUBLISH', KEYS[10], had[2] .. ':' .. order[1] .. ':i' .. newest .. ':'
        .. #word .. ':' .. word .. ARGV[13] .. ':' .. table.concat(ARGV, '', 14))
      if type(sent) == 'table' then return {err = 'HALF ' .. sent.err} end
      return {had[2], done}
    end
  end
end
