-- What a shard knows. ARGV: [since_ms, [names of series], [series key, ...]]: declare these as known since then; answers [born_ms, ...].
local since, names, items = unpack(cmsgpack.unpack(ARGV[1]))
local answers = {}
for i, item in ipairs(items) do
  local key = KEYS[item]
  redis.call('HSETNX', key, 'born', now)
  for _, name in ipairs(names) do
    local series = series_of(key, name)
    redis.call('HSET', key, 's:' .. name, cmsgpack.pack({series[1], series[2], since}))
  end
  answers[i] = tonumber(redis.call('HGET', key, 'born'))
end
return cmsgpack.pack(answers)
