-- Put members on lists. ARGV: [[[key, member, note, ttl_ms], ...]] (ttl 0 takes it off); answers [true, ...]. A list lives as long as its last member.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[1])[1]) do
  local key, member, note, ttl = KEYS[item[1]], item[2], item[3], item[4]
  if ttl > 0 then
    redis.call('HSET', key, member, string.format('%.0f|%s', now + ttl, note))
  else
    redis.call('HDEL', key, member)
  end
  local all, last = redis.call('HGETALL', key), 0
  for n = 1, #all, 2 do
    local till = tonumber(string.match(all[n + 1], '^(%d+)|'))
    if till <= now then
      redis.call('HDEL', key, all[n])
    end
    last = math.max(last, till)
  end
  if last > 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', last))
  end
  answers[i] = true
end
return cmsgpack.pack(answers)
