-- A user who may not do all of it does nothing of it. Redis 6 can't check this beforehand,
-- and stops halfway.
if redis.acl_check_cmd then
  for _, words in ipairs({{'HSET', store, 'last', '1'}, {'ZADD', heads, '1', 'x'},
      {'RPUSH', log_key, 'x'}, {'LRANGE', log_key, '0', '0'},
      {'LTRIM', log_key, '0', '0'}, {'ZSCORE', heads, 'x'},
      {'SET', KEYS[3], 'x'}, {'PUBLISH', channel_key, 'x'}}) do
    if not redis.acl_check_cmd(unpack(words)) then
      return {err = 'NOPERM This user may not ' .. words[1] .. ' ' .. words[2]}
    end
  end
end
