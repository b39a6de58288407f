-- Reads a page of the channels' logs, in an open store. Each log is one of the KEYS, from the
-- third to `last_log`; read.lua describes ARGV[3] to ARGV[6], and what is returned.
local function whole(number) return format('%.0f', number) end
local function numbers(record) return match(record, '^(%d+):(%d+)') end
local after, last, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local joining = ARGV[6] == '1'
-- The logs, each with its first record. A log that holds something of another program's
-- counts as evicted.
local logs, firsts, evicted, strange = {}, {}, {}, {}
for i = 3, s.life == ARGV[2] and last_log or 0 do
  local log = KEYS[i]
  local first = try('LINDEX', log, 0)
  logs[#logs + 1] = log
  firsts[log] = first and not first.err and numbers(first) and first
  if not firsts[log] then
    local channel = string.sub(log, #heads)
    if call('ZSCORE', heads, channel) then evicted[#evicted + 1] = channel end
  end
end
if #evicted > 0 then lost(#evicted) end
-- If the server refuses writes, the events can still be read.
save((fresh or #evicted > 0) and call or try)
if s.life ~= ARGV[2] then return {'', whole(s.last), s.life} end
for i = 1, #evicted, 1000 do
  call('ZREM', heads, unpack(evicted, i, math.min(i + 999, #evicted)))
end
local since, greatest = {}, 0
for _, log in ipairs(logs) do
  local _, prev = numbers(firsts[log] or '')
  since[log] = prev or whole(s.floor)
  greatest = math.max(greatest, tonumber(since[log]))
end

-- include heap.lua
-- A record that is not ours makes the log `strange`: nothing can be said about it.
local function number_at(log, index)
  local record = call('LINDEX', log, index)
  local number = record and tonumber((numbers(record)))
  if record and not number then strange[log] = true end
  return number, record
end

-- Without a number to begin at: begin so many events before the end.
if not after then
  after = s.last
  for i, log in ipairs(last > 0 and logs or {}) do
    local number = firsts[log] and number_at(log, -1)
    if number then heap[#heap + 1] = {-number, i, log, -1} end
  end
  build()
  for _ = 1, last do
    local item = heap[1]
    if not item then break end
    after = math.max(-item[1] - 1, greatest)
    local number = number_at(item[3], item[4] - 1)
    follow(number and {-number, item[2], item[3], item[4] - 1})
  end
  heap = {}
end

-- Where to begin in each log. It searches from the log's end, because readers usually miss
-- only a few events.
local function start(log)
  local first = tonumber((numbers(firsts[log])))
  if first > after then return {first, 0, log, -call('LLEN', log), firsts[log]} end
  local number, record = number_at(log, -1)
  if not number or number <= after then return nil end
  local near, far, item = -1, nil, {number, 0, log, -1, record}
  while not far or near - far > 1 do
    local index = far and math.floor((far + near) / 2) or 2 * near
    number, record = number_at(log, index)
    if record and not number then return nil end
    if number and number > after then
      near, item = index, {number, 0, log, index, record}
    else
      far = index
    end
  end
  return item
end
for i, log in ipairs(logs) do
  local item = firsts[log] and start(log)
  if item then
    item[2] = i
    heap[#heap + 1] = item
  end
end
build()
local reply = {s.epoch, whole(s.last), whole(s.floor), whole(s.birth), whole(s.age),
  whole(after), whole(s.last), {}, {}, store_time()}
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
  local number, record = nil, nil
  if item[4] < -1 then number, record = number_at(item[3], item[4] + 1) end
  follow(number and {number, item[2], item[3], item[4] + 1, record})
end
local complete = greatest <= after and reply[7] == reply[2]
for _, log in ipairs(logs) do
  if strange[log] then complete, since[log], firsts[log] = false, whole(s.last), nil end
end
if joining and complete then return reply end
if joining then reply[9] = {} end
for _, log in ipairs(joining and {} or logs) do
  proofs[#proofs + 1] = since[log]
  proofs[#proofs + 1] = firsts[log] and 'trimmed' or 'unknown'
end
if joining then reply[7] = '0' end
return reply
