-- Allowances. ARGV: [[[count, span_ms, part_ms], ...], [key, ...]]; answers [ms until there may be room, 0 = counted, ...].
local limits, items = unpack(cmsgpack.unpack(ARGV[1]))
local PARTS = 12
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local longest = 0
for _, limit in ipairs(limits) do
  longest = math.max(longest, limit[2] + limit[3])
end
local answers = {}
for i, index in ipairs(items) do
  local key = KEYS[index]
  local flat = redis.call('HGETALL', key)
  local wait = 0
  local old, add = {}, {}
  for _, limit in ipairs(limits) do
    local count, span, part = unpack(limit)
    local slot = math.floor(now / part)
    local taken, over = {}, 1 - count
    for f = 1, #flat, 2 do
      local of, at = string.match(flat[f], '^(%d+):(%d+)$')
      if tonumber(of) == span then
        at = tonumber(at)
        if at >= slot - PARTS then
          local n = tonumber(flat[f + 1])
          taken[#taken + 1] = {at, n}
          over = over + n
        else
          old[#old + 1] = flat[f]
        end
      end
    end
    table.sort(taken, function(a, b) return a[1] < b[1] end)
    for _, one in ipairs(taken) do
      if over <= 0 then break end
      over = over - one[2]
      wait = math.max(wait, (one[1] + PARTS + 1) * part - now)
    end
    add[#add + 1] = string.format('%d:%d', span, slot)
  end
  if wait <= 0 then
    if #old > 0 then redis.call('HDEL', key, unpack(old)) end
    for _, field in ipairs(add) do redis.call('HINCRBY', key, field, 1) end
    redis.call('PEXPIRE', key, longest)
  end
  answers[i] = math.max(0, wait)
end
return cmsgpack.pack(answers)
