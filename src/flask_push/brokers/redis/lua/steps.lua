-- Decides on all steps before anything is stored. A step has the rows to store, and the `row`
-- whose id the change returns, or none for the store's position. A row to store has the one
-- that it replaces in `old`, and is `same` if only its deadline is new.
local steps, a_step, changes = {}, 7 + 2 * ARGV[5], 0
local function found(channel, item)
  local row = channel.found[item]
  if row == nil then
    local record = call('HGET', channel.rows, item)
    row = record and row_of(item, record) or false
    if record and not row then
      return nil, {err = 'WRONGTYPE The key ' .. channel.rows .. ' holds no items.'}
    end
    channel.found[item] = row
  end
  return row
end
-- Versions have up to 19 digits, which a double can't tell apart.
local function is_above(version, other)
  if #version ~= #other then return #version > #other end
  return version > other
end
local function replace(step, channel, old, new)
  step[#step + 1] = new
  new.channel, new.old, new.size = channel, old, new.size or 0
  channel.living = channel.living + (new.living and 1 or 0) - (old and old.living and 1 or 0)
  channel.gone = channel.gone + (new.living and 0 or 1) - (old and not old.living and 1 or 0)
  channel.bytes = channel.bytes + new.size - (old and old.size or 0)
  channel.found[new.item] = new
  return new
end
local function unset(item, version)
  return {item = item, version = version, since = '', ttl = '', owner = '',
    type = 'push:unset', data = ''}
end
while a_step < first do
  local word, index, item, data, type, ttl, version, owner, expect
    = unpack(ARGV, a_step, a_step + 8)
  if word == 'runs' then
    steps[#steps + 1] = {runs = tonumber(index)}
    a_step = a_step + 2
  elseif word == 'sets' then
    local count = tonumber(item)
    for i = a_step + 5, a_step + 4 + count do
      local item = ARGV[i]
      local row, problem = found(channels[tonumber(index)], item)
      if problem then return problem end
      steps[#steps + 1] = {'set', channels[tonumber(index)], item, ARGV[i + count], data, '', '', ''}
    end
    a_step, changes = a_step + 5 + 2 * count, changes + count
  else
    local channel = channels[tonumber(index)]
    local row, problem = found(channel, item)
    if problem then return problem end
    if expect ~= '-' then
      local is = row and row.living and not row.due and row.number .. ':' .. row.epoch or ''
      if '=' .. is ~= expect then
        return {epoch, changes .. ' ' .. is, 'conflict', store_time()}
      end
    end
    steps[#steps + 1] = {word, channel, item, data, type, ttl, version, owner}
    a_step, changes = a_step + 9, changes + 1
  end
end
local upto = first - 1
for i, step in ipairs(steps) do
  if step.runs then
    upto = upto + step.runs
    step.runs = upto
  else
    local word, channel, item, data, type, ttl, version, owner = unpack(step)
    local row, its = found(channel, item), {}
    if row and row.due then
      row = replace(its, channel, row, unset(item, row.version))
      its.row = row
    end
    if version ~= '' and row and row.version ~= '' and not is_above(version, row.version) then
      its.row = row
    elseif word ~= 'set' then
      if row and row.living and word == 'unset' then
        its.row = replace(its, channel, row, unset(item, version))
      end
    else
      local new = {item = item, version = version, since = '', ttl = ttl, owner = owner,
        type = type, data = data, living = true, size = #data + #type + #item + 100}
      if ttl ~= '' then new.since = whole(item_time) end
      local same = ttl ~= '' and row and row.living and row.type == type
        and row.version == version and row.owner == owner and row.size == new.size
        and (row.data or string.sub(row.record, row.start)) == data
      if same then new.same = row end
      its.row = replace(its, channel, row, new)
    end
    steps[i] = its
  end
end
for i, channel in ipairs(channels) do
  local living, bytes = unpack(channel.before)
  local most = channel.kind == '' and {most_items, most_item_bytes}
    or bounds_of_kinds[channel.kind] or own_bounds
  if channel.living > math.max(most[1], living)
    or channel.bytes > math.max(most[2], bytes) then
    local found = {i - 1, most[1], most[2], living, bytes, channel.living, channel.bytes}
    return {epoch, table.concat(found, ' '), 'full', store_time()}
  end
end
