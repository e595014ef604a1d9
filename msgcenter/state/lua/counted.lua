-- What counters have, for `unite`. ARGV: [[[counter, name], ...]]; answers [[open, [[name, [[at, units], ...]], ...]], ...], those that
-- were united with it under their own names.
local items = unpack(cmsgpack.unpack(ARGV[1]))
local answers = {}
for i, item in ipairs(items) do
  local tally, found = tally_of(KEYS[item[1]]), {}
  local function tell(name, sent)
    local sends = {}
    for at, units in pairs(sent) do sends[#sends + 1] = {at, units} end
    if #sends > 0 then found[#found + 1] = {name, sends} end
  end
  tell(item[2], tally.sent)
  for name, sent in pairs(tally.others) do tell(name, sent) end
  answers[i] = {tally.held, found}
end
return cmsgpack.pack(answers)
