-- Membership and fair share. ARGV: [[[key, owner, names, ttl_ms, believed]]]; answers [[held, members]]. See Verbs.lease, which this repeats.
-- Fields: m:<owner> = end, n:<name> = end|owner (epoch milliseconds).
local key, owner, names, ttl, believed = unpack(cmsgpack.unpack(ARGV[1])[1][1])
key = KEYS[key]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local members, holder, till, last = {}, {}, {}, 0
local all = redis.call('HGETALL', key)
for n = 1, #all, 2 do
  local kind, name = string.sub(all[n], 1, 2), string.sub(all[n], 3)
  local stop, by = string.match(all[n + 1], '^(%d+)|?(.*)$')
  stop = tonumber(stop)
  if stop <= now then
    redis.call('HDEL', key, all[n])
  elseif kind == 'm:' then
    members[name] = stop
  else
    holder[name], till[name] = by, stop
  end
end

local known = {}
for _, name in ipairs(believed) do
  known[name] = true
end
local held = {}
if #names > 0 then
  members[owner] = now + ttl
  redis.call('HSET', key, 'm:' .. owner, string.format('%d', now + ttl))
else
  members[owner] = nil
  redis.call('HDEL', key, 'm:' .. owner)
end
local live = 0
for _, stop in pairs(members) do
  live = live + 1
  last = math.max(last, stop)
end

local keeps = {}
if #names > 0 then
  local share = math.floor(#names / live)
  local extra, above, counts = #names % live, 0, {}
  for _, by in pairs(holder) do
    counts[by] = (counts[by] or 0) + 1
  end
  for by, count in pairs(counts) do
    if by ~= owner and count > share then
      above = above + 1
    end
  end
  local limit = above < extra and share + 1 or share
  local stay, free = {}, {}
  for _, name in ipairs(names) do
    if holder[name] == owner then
      stay[#stay + 1] = name
    elseif not holder[name] then
      free[#free + 1] = name
    end
  end
  table.sort(stay, function(a, b)
    if known[a] ~= known[b] then return known[a] == true end
    return a < b
  end)
  table.sort(free)
  for _, list in ipairs({stay, free}) do
    for _, name in ipairs(list) do
      if #held < limit then
        held[#held + 1] = name
        keeps[name] = true
        redis.call('HSET', key, 'n:' .. name, string.format('%d|%s', now + ttl, owner))
      end
    end
  end
end
for name, by in pairs(holder) do
  if by == owner and not keeps[name] then
    if #names == 0 or not known[name] then
      redis.call('HDEL', key, 'n:' .. name)
    else
      last = math.max(last, till[name])
    end
  elseif by ~= owner then
    last = math.max(last, till[name])
  end
end
if last > 0 then
  redis.call('PEXPIREAT', key, last)
end
return cmsgpack.pack({{held, live}})
