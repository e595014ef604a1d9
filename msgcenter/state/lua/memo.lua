-- Remembered values. ARGV: [[key, ...]]; answers [value, ...]; false = not there.
local answers = {}
for i, key in ipairs(cmsgpack.unpack(ARGV[1])[1]) do
  answers[i] = redis.call('GET', KEYS[key])
end
return cmsgpack.pack(answers)
