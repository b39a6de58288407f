-- Reads rows of channels in the order of their numbers, after a number and up to another,
-- until so many bytes are read.
-- Returns, in turn, the index of a channel, an item and its row; and up to which number there
-- are all, or nothing if that is `upto`. If a row is not ours, it returns its channel instead.
-- include heap.lua
local function read_rows(lists, after, upto, limit, wanted)
  -- The next row of a list, which reads some together. The least number comes first.
  local function next_of(list)
    local names, i = list.names, list.i + 1
    if i > #names then
      local found = {}
      if list.more then
        found = call('ZRANGEBYSCORE', list.key, '(' .. list.at, upto, 'WITHSCORES', 'LIMIT', 0,
          list.size)
      end
      list.more = #found == 2 * list.size
      names, list.numbers, i = {}, {}, 1
      for j = 1, #found, 2 do
        names[#names + 1] = found[j]
        list.numbers[#names] = tonumber(found[j + 1])
      end
      if #names == 0 then return nil end
      list.names, list.records = names, call('HMGET', list.channel.rows, unpack(names))
      list.at, list.size = names[#names] and whole(list.numbers[#names]), math.min(4 * list.size, 512)
    end
    list.i = i
    return {list.numbers[i], list}
  end
  local rows, reached = {}, nil
  for _, list in ipairs(lists) do
    list.at, list.size, list.i, list.names = whole(after), 4, 0, {}
    list.more = true
    local item = next_of(list)
    if item then heap[#heap + 1] = item end
  end
  build()
  while #heap > 0 do
    local number, list = unpack(heap[1])
    local name, record = list.names[list.i], list.records[list.i]
    local row = row_of(name, record)
    if not row or tonumber(row.number) ~= number then return nil, list.channel end
    if wanted(row) then
      if limit <= 0 and reached then return rows, reached end
      rows[#rows + 1] = list.channel.index
      rows[#rows + 1] = name
      rows[#rows + 1] = record
      limit = limit - #record - 64
    end
    reached = number
    follow(next_of(list))
  end
  return rows, nil
end
