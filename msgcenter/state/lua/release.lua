-- Take back claims. ARGV: [keep_ms, [[key, field, held], ...]]; answers whether there was a claim. A concluded pass has none any
-- more, so what is removed has no outcome. `held`: [] or [record, step, attempt]: its units are open again.
local keep, items = unpack(cmsgpack.unpack(ARGV[1]))
local answers = {}
for i, item in ipairs(items) do
  local key, held = KEYS[item[1]], item[3]
  answers[i] = redis.call('HDEL', key, item[2]) == 1
  if answers[i] and held[1] then
    give_back(KEYS[held[1]], held[2], held[3], 'reopen')
  end
end
flush(keep)
return cmsgpack.pack(answers)
