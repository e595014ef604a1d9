-- Set suppressions. ARGV: [evidence, [[gate, rule, ttl_ms, message, hold], ...]] (ttl 0 = until lifted; message 0 = a wide gate); answers [late, ...].
-- Late: a pass of the message has a claim (its outcome or a release would have removed it), evidence, or a view that is
-- named after evidence.
local evidence, items = unpack(cmsgpack.unpack(ARGV[1]))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = {}
for _, name in ipairs(evidence) do
  left[name] = true
end
local answers = {}
for i, item in ipairs(items) do
  local gate, rule, ttl, message = KEYS[item[1]], item[2], item[3], item[4]
  if item[5] then
    rule = string.format('~%.0f|%s', ttl > 0 and now + ttl or 0, rule)
  end
  if ttl > 0 then
    redis.call('SET', gate, rule, 'PX', ttl)
  else
    redis.call('SET', gate, rule)
  end
  local late = false
  if message ~= 0 then
    local view, e = unpack(redis.call('HMGET', KEYS[message], 'v', 'e'))
    late = e ~= false or (view and left[view] or false)
    if not late then
      for _, field in ipairs(redis.call('HKEYS', KEYS[message])) do
        late = late or string.sub(field, 1, 2) == 'c:'
      end
    end
  end
  answers[i] = late
end
return cmsgpack.pack(answers)
