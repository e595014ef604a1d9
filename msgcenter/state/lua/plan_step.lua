-- One step of plans. ARGV: [keep_ms, plan_order, [[plan, message, version, value, ttl_ms, view, meta, [[gate, step], ...], rule], ...]].
-- Answers [[version, value, taken, [halt, ...]], ...]. Taken: nobody has written since `version`, or this very step did.
local keep, above, items = unpack(cmsgpack.unpack(ARGV[1]))

-- What a stop of this step meets: a claim, or evidence of more than an unknown send (rank 1): its outcome is still to be told.
local function halt(key, step)
  local prefix = 'c:channel:' .. step .. '.'
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, #prefix) == prefix then
      return 'claimed'
    end
  end
  local e = redis.call('HGET', key, 'e')
  local found = ''
  for _, row in ipairs(e and cmsgpack.unpack(e) or {}) do
    if row[1] == step then
      if row[4] ~= 1 then
        return 'claimed'
      end
      found = 'left'
    end
  end
  return found
end

local answers = {}
for i, item in ipairs(items) do
  local plan, message, version, value, ttl, view, meta, stops, rule = unpack(item)
  plan, message = KEYS[plan], KEYS[message]
  local v, d = unpack(redis.call('HMGET', plan, 'v', 'd'))
  v = tonumber(v or 0)
  if v ~= version and not (v == version + 1 and d == value) then
    answers[i] = {v, d or '', false, {}}
  else
    redis.call('HSET', plan, 'v', version + 1, 'd', value)
    redis.call('PEXPIRE', plan, ttl)
    if meta ~= '' then
      redis.call('HSETNX', message, 'meta', meta)
    end
    if view ~= '' then
      redis.call('HSET', message, 'v', view, 'vo', string.format('%.0f', above + version + 1))
    end
    redis.call('PEXPIRE', message, keep)
    local halts = {}
    for n, stop in ipairs(stops) do
      redis.call('SET', KEYS[stop[1]], rule, 'PX', ttl)
      halts[n] = halt(message, stop[2])
    end
    answers[i] = {version + 1, value, true, halts}
  end
end
return cmsgpack.pack(answers)
