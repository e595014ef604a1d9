-- Take tokens of a bucket. ARGV: [[[key, want, rate, burst, lasts_ms]]]; answers [[granted, wait_s, left]].
local key, want, rate, burst, lasts = unpack(cmsgpack.unpack(ARGV[1])[1][1])
key = KEYS[key]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local n, at, of = unpack(redis.call('HMGET', key, 'n', 'at', 'of'))
local have = burst
if n then
  -- A clock that was set back must not freeze the bucket: no time has passed, that is all.
  have = math.min(burst, n + math.max(0, now - at) * rate)
  -- What was taken stays taken when the size of a bucket without a rate changes.
  if lasts > 0 and of then have = math.max(0, burst - (of - n)) end
end
local granted = math.max(0, math.min(want, math.floor(have + 0.000000001)))
have = have - granted
redis.call('HSET', key, 'n', string.format('%.9f', have), 'at', string.format('%.6f', now), 'of', burst)
if lasts > 0 then
  redis.call('PEXPIRE', key, lasts)
else
  -- A bucket that is full again needs no memory.
  redis.call('PEXPIRE', key, math.ceil((burst - have) / rate * 1000) + 1000)
end
local wait = 0
if granted < want then
  wait = lasts > 0 and lasts / 1000 or math.max(0, (1 - have) / rate)
end
return cmsgpack.pack({{granted, string.format('%.6f', wait), math.floor(have)}})
