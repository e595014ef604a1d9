-- Keep the meta of messages and finish keys. ARGV: [[[key, keep_ms, "meta", meta] or [key, keep_ms, "ans", answer, id], ...]].
local items = cmsgpack.unpack(ARGV[1])[1]
local answers = {}
for i, item in ipairs(items) do
  local key = KEYS[item[1]]
  redis.call('HSET', key, item[3], item[4])
  if item[5] then
    redis.call('HSETNX', key, 'id', item[5])
  end
  redis.call('PEXPIRE', key, item[2])
  answers[i] = true
end
return cmsgpack.pack(answers)
