-- A value written once. ARGV: [[[key, fresh], ...]]; answers [value, ...].
local items = cmsgpack.unpack(ARGV[1])[1]
local answers = {}
for i, item in ipairs(items) do
  redis.call('SET', KEYS[item[1]], item[2], 'NX')
  answers[i] = redis.call('GET', KEYS[item[1]])
end
return cmsgpack.pack(answers)
