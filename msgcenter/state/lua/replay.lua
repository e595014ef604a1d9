-- The stored outcomes of passes. ARGV: [[[key, field], ...]]; answers [outcome or false, ...].
local items = cmsgpack.unpack(ARGV[1])[1]
local answers = {}
for i, item in ipairs(items) do
  answers[i] = redis.call('HGET', KEYS[item[1]], item[2])
end
return cmsgpack.pack(answers)
