-- Snapshots. ARGV: [[key, ...]]; answers [[meta, view, evidence], ...]; false = not there.
local items = cmsgpack.unpack(ARGV[1])[1]
local answers = {}
for i, key in ipairs(items) do
  answers[i] = redis.call('HMGET', KEYS[key], 'meta', 'v', 'e')
end
return cmsgpack.pack(answers)
