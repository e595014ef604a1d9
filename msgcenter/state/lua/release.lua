-- Take back claims. ARGV: [[[key, field], ...]]. A concluded pass has no claim any more, so what is removed has no outcome.
local items = cmsgpack.unpack(ARGV[1])[1]
local answers = {}
for i, item in ipairs(items) do
  redis.call('HDEL', KEYS[item[1]], item[2])
  answers[i] = true
end
return cmsgpack.pack(answers)
