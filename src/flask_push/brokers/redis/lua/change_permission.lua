-- As permission.lua, for all that a change of items needs.
if redis.acl_check_cmd then
  local needed = {{'HSET', store, 'last', '1'}, {'SET', KEYS[3], 'x'}, {'ZCARD', owners_key},
    {'HSET', items_key, 'x', 'x'}, {'HLEN', items_key}, {'HDEL', items_key, 'x'},
    {'ZADD', deadlines_key, '1', 'x'}, {'ZREM', deadlines_key, 'x'}}
  local k = at
  for i = 1, tonumber(ARGV[5]) do
    local order = KEYS[k + 1]
    for _, words in ipairs({{'DEL', order}, {'ZRANGE', order, '0', '0'},
        {'ZREMRANGEBYRANK', order, '0', '0'}, {'PUBLISH', KEYS[k + 3], 'x'}}) do
      needed[#needed + 1] = words
    end
    k = k + 4
  end
  if first <= size then
    local log_key = KEYS[k]
    for _, words in ipairs({{'ZADD', heads, '1', 'x'}, {'RPUSH', log_key, 'x'},
        {'LRANGE', log_key, '0', '0'}, {'LTRIM', log_key, '0', '0'}, {'ZSCORE', heads, 'x'},
        {'PUBLISH', KEYS[k + 1], 'x'}}) do
      needed[#needed + 1] = words
    end
  end
  for _, words in ipairs(needed) do
    if not redis.acl_check_cmd(unpack(words)) then
      return {err = 'NOPERM This user may not ' .. words[1] .. ' ' .. words[2]}
    end
  end
end
