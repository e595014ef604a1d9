-- Sends before a counter's time. ARGV: [series key, {series = keep_ms}, [[counter, series, since_ms, [[at, units], ...]], ...]].
local series_key, keeps, items = unpack(cmsgpack.unpack(ARGV[1]))
load_series(KEYS[series_key], keeps, true)
local answers = {}
for i, item in ipairs(items) do
  local tally, series = tally_of(KEYS[item[1]]), seen_series[item[2]]
  local live, sent = series[1], {}
  for at, units in pairs(tally.sent) do
    if at >= live then sent[at] = units end
  end
  for _, one in ipairs(item[4]) do
    if one[1] < live then sent[one[1]] = (sent[one[1]] or 0) + one[2] end
  end
  tally.sent, tally.since, tally.cut, tally.changed = sent, item[3], live, true
  -- What was united is in the whole list.
  for _, theirs in pairs(tally.others) do
    for at in pairs(theirs) do
      if at < live then theirs[at] = nil end
    end
  end
  tally.keep = math.max(tally.keep, series[2])
  answers[i] = true
end
flush(0)
return cmsgpack.pack(answers)
