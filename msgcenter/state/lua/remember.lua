-- Remember a value. ARGV: [[[key, value, ttl_ms]]]; answers [0]. No time left: forget.
local key, value, ttl = unpack(cmsgpack.unpack(ARGV[1])[1][1])
if ttl > 0 then
  redis.call('SET', KEYS[key], value, 'PX', ttl)
else
  redis.call('DEL', KEYS[key])
end
return cmsgpack.pack({{0}})
