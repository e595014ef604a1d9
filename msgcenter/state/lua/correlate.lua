-- Look up receipts. ARGV: [[["remote" or "unknowns", key], ...]]; answers [place or false, or [place, ...] inside their deadline].
local items = cmsgpack.unpack(ARGV[1])[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, item in ipairs(items) do
  local key = KEYS[item[2]]
  if item[1] == 'remote' then
    answers[i] = redis.call('GET', key)
  else
    local all, open = redis.call('HGETALL', key), {}
    for n = 1, #all, 2 do
      if tonumber(all[n + 1]) > now then
        open[#open + 1] = all[n]
      end
    end
    answers[i] = open
  end
end
return cmsgpack.pack(answers)
