-- The progress of plans. ARGV: [[key, ...]]; answers [[version, value], ...]; 0 = there is none.
local answers = {}
for i, key in ipairs(cmsgpack.unpack(ARGV[1])[1]) do
  local v, d = unpack(redis.call('HMGET', KEYS[key], 'v', 'd'))
  answers[i] = {tonumber(v or 0), d or ''}
end
return cmsgpack.pack(answers)
