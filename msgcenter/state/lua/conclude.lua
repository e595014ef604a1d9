-- Store outcomes and what follows from them.
-- ARGV: [keep_ms, [[key, pass, outcome, view, order, marks, remotes, unknown, seen, held], ...]]
--   pass    "" = only what follows from an outcome that another shard keeps
--   marks   [[key, [[step, attempt, part, rank, at, code], ...]], ...], one entry a message
--   remotes [[key, place], ...]; unknown: [] or [key, place, until_ms]
--   held    [] or [record, step, attempt, what], see give_back in units.lua
--   seen    the key of the message whose snapshot is wanted, 0 = none
-- Answers [[outcome, fresh, meta, view, evidence], ...]; false = not there.
-- The first write of an item is an HSET, so that a full server refuses the item as a whole.
local keep, items = unpack(cmsgpack.unpack(ARGV[1]))

local function precedes(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  if a[2] ~= b[2] then return a[2] < b[2] end
  return a[3] < b[3]
end

-- Per part the highest rank stands; among equals the earliest, then the smaller code.
local function better(new, old)
  if new[4] ~= old[4] then return new[4] > old[4] end
  if new[5] ~= old[5] then return new[5] < old[5] end
  return new[6] < old[6]
end

local function merged(blob, marks)
  local rows = blob and cmsgpack.unpack(blob) or {}
  for _, new in ipairs(marks) do
    local at = #rows + 1
    for n, row in ipairs(rows) do
      if row[1] == new[1] and row[2] == new[2] and row[3] == new[3] then
        at = n
        break
      end
    end
    if not rows[at] or better(new, rows[at]) then
      rows[at] = new
    end
  end
  if #rows > 1 then
    table.sort(rows, precedes)
  end
  return cmsgpack.pack(rows)
end

local answers = {}
for i, item in ipairs(items) do
  local own, pass, outcome, view, order, marks, remotes, unknown, seen, held = unpack(item)
  local stored, fresh, meta, v, e = outcome, true, false, false, false
  local apply = true
  if pass ~= '' then
    local key = KEYS[own]
    local last
    stored, last, meta, v, e = unpack(redis.call('HMGET', key, 'o:' .. pass, 'vo', 'meta', 'v', 'e'))
    fresh = not stored
    stored = stored or outcome
    apply = stored == outcome
    if apply then
      local set = {'o:' .. pass, outcome}
      if view ~= '' and order >= tonumber(last or 0) then
        v = view
        set[3], set[4], set[5], set[6] = 'v', view, 'vo', order
      end
      for _, mark in ipairs(marks) do
        if mark[1] == own then
          e = merged(e, mark[2])
          set[#set + 1] = 'e'
          set[#set + 1] = e
        end
      end
      redis.call('HSET', key, unpack(set))
      redis.call('HDEL', key, 'c:' .. pass)
      redis.call('PEXPIRE', key, keep)
    end
  end
  if apply then
    for _, mark in ipairs(marks) do
      if mark[1] ~= own or pass == '' then
        local key = KEYS[mark[1]]
        redis.call('HSET', key, 'e', merged(redis.call('HGET', key, 'e'), mark[2]))
        redis.call('PEXPIRE', key, keep)
      end
    end
    for _, remote in ipairs(remotes) do
      redis.call('SET', KEYS[remote[1]], remote[2], 'PX', keep)
    end
    if held[1] then
      give_back(KEYS[held[1]], held[2], held[3], held[4])
    end
    if unknown[1] and unknown[3] > now then
      local key = KEYS[unknown[1]]
      redis.call('HSET', key, unknown[2], unknown[3])
      local all, last = redis.call('HGETALL', key), 0
      for n = 1, #all, 2 do
        local till = tonumber(all[n + 1])
        if till <= now then
          redis.call('HDEL', key, all[n])
        end
        last = math.max(last, till)
      end
      redis.call('PEXPIREAT', key, last)
    end
  end
  if seen ~= 0 and (seen ~= own or pass == '') then
    meta, v, e = unpack(redis.call('HMGET', KEYS[seen], 'meta', 'v', 'e'))
  end
  answers[i] = {stored, fresh, meta, v, e}
end
flush(keep)
return cmsgpack.pack(answers)
