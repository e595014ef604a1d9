-- Take tokens of a bucket. ARGV: [[[key, want, rate, burst]]]; answers [[granted, wait_s]].
local key, want, rate, burst = unpack(cmsgpack.unpack(ARGV[1])[1][1])
key = KEYS[key]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local n, at = unpack(redis.call('HMGET', key, 'n', 'at'))
local have = burst
if n then
  -- A clock that was set back must not freeze the bucket: no time has passed, that is all.
  have = math.min(burst, n + math.max(0, now - at) * rate)
end
local granted = math.max(0, math.min(want, math.floor(have + 0.000000001)))
have = have - granted
redis.call('HSET', key, 'n', string.format('%.9f', have), 'at', string.format('%.6f', now))
-- A bucket that is full again needs no memory.
redis.call('PEXPIRE', key, math.ceil((burst - have) / rate * 1000) + 1000)
local wait = 0
if granted < want then
  wait = math.max(0, (1 - have) / rate)
end
return cmsgpack.pack({{granted, wait}})
