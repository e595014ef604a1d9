-- Lift suppressions. ARGV: [[gate, ...]].
local items = cmsgpack.unpack(ARGV[1])[1]
local answers = {}
for i, gate in ipairs(items) do
  redis.call('DEL', KEYS[gate])
  answers[i] = true
end
return cmsgpack.pack(answers)
