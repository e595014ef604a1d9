-- Sends of other counters, each once. ARGV: [series key, {series = keep_ms}, [[counter, series, own name, [[name, [[at, units], ...]], ...]], ...]].
local series_key, keeps, items = unpack(cmsgpack.unpack(ARGV[1]))
load_series(KEYS[series_key], keeps, true)
local answers = {}
for i, item in ipairs(items) do
  local tally = tally_of(KEYS[item[1]])
  for _, piece in ipairs(item[4]) do
    local name, sends = unpack(piece)
    if name ~= item[3] then
      local mine = tally.others[name] or {}
      for _, one in ipairs(sends) do mine[one[1]] = math.max(one[2], mine[one[1]] or 0) end
      tally.others[name] = mine
      tally.sums, tally.changed = {}, true
    end
  end
  tally.keep = math.max(tally.keep, seen_series[item[2]][2])
  answers[i] = true
end
flush(0)
return cmsgpack.pack(answers)
