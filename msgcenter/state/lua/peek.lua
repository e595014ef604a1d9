-- Read counters. ARGV: [series key, {series = keep_ms}, [windows, ...], [take, ...]]; answers [[[use, ...], since_ms], ...].
local series_key, keeps, windows, items = unpack(cmsgpack.unpack(ARGV[1]))
load_series(KEYS[series_key], keeps, false)
local answers = {}
for i, take in ipairs(items) do
  answers[i] = {usage(take, windows)}
end
return cmsgpack.pack(answers)
