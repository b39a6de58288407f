-- Checks all that may be refused before anything is stored. A single run needs no check: its
-- first command is refused or none is.
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
  -- All keys were evicted.
  if card == 0 then bytes, keys = bytes - keys, 0 end
end
