-- The part of reservations that lies in another shard than their message: ARGV: [keep_ms, what, [[record, step, attempt], ...]];
-- what: 'confirm' (answers whether it holds them), or as give_back in units.lua.
local keep, what, items = unpack(cmsgpack.unpack(ARGV[1]))
local answers = {}
for i, item in ipairs(items) do
  if what == 'confirm' then
    answers[i] = confirm(KEYS[item[1]], item[2], item[3])
  else
    give_back(KEYS[item[1]], item[2], item[3], what)
    answers[i] = true
  end
end
flush(keep)
return cmsgpack.pack(answers)
