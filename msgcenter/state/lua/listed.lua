-- Read lists. ARGV: [[key, ...]]; answers [[[member, note], ...], ...].
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, key in ipairs(cmsgpack.unpack(ARGV[1])[1]) do
  local all, found = redis.call('HGETALL', KEYS[key]), {}
  for n = 1, #all, 2 do
    local till, note = string.match(all[n + 1], '^(%d+)|(.*)$')
    if tonumber(till) > now then
      found[#found + 1] = {all[n], note}
    end
  end
  answers[i] = found
end
return cmsgpack.pack(answers)
