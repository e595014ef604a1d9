-- One at a time. ARGV: [[[key, owner, ttl_ms]]]; answers [[0 when it is the owner's (or let go), else ms until it is free]].
local key, owner, ttl = unpack(cmsgpack.unpack(ARGV[1])[1][1])
key = KEYS[key]
local holder = redis.call('GET', key)
local remaining = 0
if holder and holder ~= owner then
  if ttl > 0 then
    remaining = math.max(1, redis.call('PTTL', key))
  end
elseif ttl > 0 then
  redis.call('SET', key, owner, 'PX', ttl)
else
  redis.call('DEL', key)
end
return cmsgpack.pack({{remaining}})
