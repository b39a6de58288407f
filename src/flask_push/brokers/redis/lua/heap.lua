-- A binary heap of the channels' next records, with the least number first. Each item is the
-- number, the channel's index, the log, the index in it, and the record.
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
local function build()
  for i = math.floor(#heap / 2), 1, -1 do sift(i, heap[i]) end
end
-- Replace the least by the next record of its log, if there is one.
local function follow(item)
  if item then
    sift(1, item)
  else
    local rest = table.remove(heap)
    if #heap > 0 then sift(1, rest) end
  end
end
