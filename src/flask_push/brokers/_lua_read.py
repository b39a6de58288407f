"""The script that reads. ``_lua.py`` says of what."""

from __future__ import annotations

from ._lua import BEGIN
from ._lua import OPEN

#: KEYS: the store, its heads, the channels' logs. ARGV: words, life; after or an empty
#: string, last, bytes after which it is full, whether all has to be there. What comes
#: back: epoch, end, floor, birth, age, after, how far it reaches; since and the reason,
#: by channel, or nothing if all is there and was asked for; and in the order of numbers,
#: the index of a channel and a record, by turns.
READ = (
    BEGIN
    + OPEN
    + """
local function whole(number) return format('%.0f', number) end
local function numbers(record) return string.match(record, '^(%d+):(%d+)') end
local after, last, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local joining = ARGV[6] == '1'
local logs, firsts, evicted = {}, {}, {}
for i = 3, s.life == ARGV[2] and #KEYS or 0 do
  local log = KEYS[i]
  local channel = string.sub(log, #heads)
  logs[#logs + 1] = log
  firsts[log] = call('LINDEX', log, 0)
  if not firsts[log] and call('ZSCORE', heads, channel) then
    lost()
    evicted[#evicted + 1] = channel
  end
end
if #changed > 0 then
  -- Where nothing can be written, what is there can still be read.
  local save = (fresh or #evicted > 0) and redis.call or redis.pcall
  save('HSET', store, unpack(changed))
end
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
if #evicted > 0 then call('ZREM', heads, unpack(evicted)) end
local since, greatest = {}, 0
for _, log in ipairs(logs) do
  local _, prev = numbers(firsts[log] or '')
  since[log] = prev or whole(s.floor)
  greatest = math.max(greatest, tonumber(since[log]))
end
if not after then
  local newest = {}
  for _, log in ipairs(last > 0 and logs or {}) do
    for _, record in ipairs(call('LRANGE', log, -last, -1)) do
      newest[#newest + 1] = tonumber((numbers(record)))
    end
  end
  table.sort(newest, function(a, b) return a > b end)
  local earliest = newest[math.min(last, #newest)]
  after = earliest and math.max(earliest - 1, greatest) or s.last
end
local function start(list)
  local low, high = 0, call('LLEN', list)
  local newest = high > 0 and call('LINDEX', list, -1)
  if not newest or tonumber((numbers(newest))) <= after then return nil end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber((numbers(call('LINDEX', list, middle)))) > after then
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
for i, list in ipairs(logs) do
  local index = start(list)
  if index then
    local record = call('LINDEX', list, index)
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
  local record = call('LINDEX', item[3], item[4] + 1)
  if record then
    sift(1, {tonumber((numbers(record))), item[2], item[3], item[4] + 1, record})
  else
    local rest = table.remove(heap)
    if #heap > 0 then sift(1, rest) end
  end
end
if joining and greatest <= after and reply[7] == reply[2] then return reply end
if joining then reply[9] = {} end
for _, log in ipairs(joining and {} or logs) do
  proofs[#proofs + 1] = since[log]
  proofs[#proofs + 1] = firsts[log] and 'trimmed' or 'unknown'
end
if joining then reply[7] = '0' end
return reply
"""
)
