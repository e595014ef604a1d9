-- The counters of caps and the lots that messages hold of them, as ledger.py says; put before the scripts that use them.
-- Counter (string): [keep, since, cut, {time = units} sent, {deadline = units} open, {name = {time = units}} others united with it]. Record (field `r` of a message):
-- [[step, attempt, deadline, open_ms, at, [[counter key, units, per], ...]], ...]; per: 0 message, 1 step, 2 attempt;
-- 0 units: the lot relies on what another one of the message paid for all.
local EXACT, AGE, SLACK = 300, 16, 60000
local SLOTS = {1000, 5000, 15000, 60000, 300000, 900000}
local STEP, ATTEMPT, DEADLINE, OPEN_MS, AT, HOLDS = 1, 2, 3, 4, 5, 6
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tallies, records, seen_series = {}, {}, {}

local function tally_of(key)
  local tally = tallies[key]
  if tally then return tally end
  tally = {keep = 0, since = 0, cut = 0, sent = {}, open = {}, others = {}, held = 0, sums = {}}
  local blob = redis.call('GET', key)
  if blob then
    tally.keep, tally.since, tally.cut, tally.sent, tally.open, tally.others = unpack(cmsgpack.unpack(blob))
    tally.others = tally.others or {}
    for till, units in pairs(tally.open) do
      if till <= now then
        tally.open[till] = nil
      else
        tally.held = tally.held + units
      end
    end
  end
  tallies[key] = tally
  return tally
end

local function sent_after(tally, after)
  local units = tally.sums[after]
  if not units then
    units = 0
    for at, n in pairs(tally.sent) do
      if at > after then units = units + n end
    end
    for _, sent in pairs(tally.others) do
      for at, n in pairs(sent) do
        if at > after then units = units + n end
      end
    end
    tally.sums[after] = units
  end
  return units
end

local function add(lot, key, units)
  if units == 0 then return end
  local tally = tally_of(key)
  tally.changed = true
  if lot[AT] == 0 then
    tally.open[lot[DEADLINE]] = (tally.open[lot[DEADLINE]] or 0) + units
    tally.held = tally.held + units
  else
    tally.sent[lot[AT]] = (tally.sent[lot[AT]] or 0) + units
    tally.sums = {}
  end
end

-- Sent units may have been rounded up: they are in the first slot from their time on.
local function remove(lot, key, units)
  if units == 0 then return end
  local tally = tally_of(key)
  if lot[AT] == 0 then
    local left = (tally.open[lot[DEADLINE]] or 0) - units
    tally.open[lot[DEADLINE]] = left > 0 and left or nil
    tally.held = tally.held - units
  else
    local when = lot[AT]
    if not tally.sent[when] then
      if when <= now - tally.keep then return end
      for at in pairs(tally.sent) do
        if at >= lot[AT] and (when == lot[AT] or at < when) then when = at end
      end
    end
    local left = (tally.sent[when] or 0) - units
    tally.sent[when] = left > 0 and left or nil
    tally.sums = {}
  end
  tally.changed = true
end

-- Its lots, without those that are over (their units are over by themselves).
local function record_of(key)
  local record = records[key]
  if record then return record end
  record = {lots = {}}
  local blob = redis.call('HGET', key, 'r')
  if blob then
    for _, lot in ipairs(cmsgpack.unpack(blob)) do
      if lot[AT] > 0 or lot[DEADLINE] > now then record.lots[#record.lots + 1] = lot end
    end
  end
  records[key] = record
  return record
end

local function deadline_of(open_ms)
  return math.ceil((now + open_ms) / 1000) * 1000
end

-- Put the lot elsewhere: `change` moves its deadline or its time.
local function move(lot, change)
  for _, hold in ipairs(lot[HOLDS]) do remove(lot, hold[1], hold[2]) end
  change(lot)
  for _, hold in ipairs(lot[HOLDS]) do add(lot, hold[1], hold[2]) end
end

-- No open lot of a message ends before the others: they may rely on what it pays for all.
local function renew(record, deadline)
  for _, lot in ipairs(record.lots) do
    if lot[AT] == 0 and lot[DEADLINE] < deadline then
      move(lot, function(it) it[DEADLINE] = deadline end)
    end
  end
  record.changed = true
end

-- What a message pays once passes from one lot to another that relies on it.
local function pass_on(lot, hold, heir)
  if hold[3] ~= 0 or hold[2] == 0 then return end
  for _, other in ipairs(heir[HOLDS]) do
    if other[1] == hold[1] then
      remove(lot, hold[1], hold[2])
      hold[2], other[2] = 0, hold[2]
      add(heir, other[1], other[2])
    end
  end
end

local function relies(lot, key)
  for _, hold in ipairs(lot[HOLDS]) do
    if hold[1] == key then return true end
  end
  return false
end

-- The pass leaves now: its units are spent at this time. False: it holds none (any more).
local function confirm(key, step, attempt)
  local record = record_of(key)
  local mine, spent, per_attempt = nil, false, false
  for _, lot in ipairs(record.lots) do
    if lot[STEP] == step and lot[AT] == 0 and lot[ATTEMPT] <= attempt then
      mine = mine or lot
    elseif lot[STEP] == step and lot[AT] > 0 then
      spent = spent or 'other'
      if lot[ATTEMPT] == attempt then spent = 'same' end
      for _, hold in ipairs(lot[HOLDS]) do per_attempt = per_attempt or hold[3] == 2 end
    end
  end
  if not mine then
    return spent == 'same' or (spent == 'other' and not per_attempt)
  end
  move(mine, function(it) it[AT] = now end)
  mine[ATTEMPT] = attempt
  -- What a message pays once is firm as soon as one of the steps that rely on it has left.
  for _, other in ipairs(record.lots) do
    if other[AT] == 0 then
      for _, hold in ipairs(other[HOLDS]) do pass_on(other, hold, mine) end
    end
  end
  record.changed = true
  return true
end

-- The pass surely sent nothing. what: 'open' = again for the next attempt, 'reopen' = for the same, 'refunded' = gone,
-- 'undo' = gone if it was not spent.
local function give_back(key, step, attempt, what)
  local record = record_of(key)
  local kept, gone = {}, {}
  for _, lot in ipairs(record.lots) do
    local mine = lot[STEP] == step and lot[ATTEMPT] == attempt
    if mine and (what == 'refunded' or (what == 'undo' and lot[AT] == 0)) then
      gone[#gone + 1] = lot
    else
      kept[#kept + 1] = lot
    end
    if mine and (what == 'open' or what == 'reopen') then
      if lot[AT] > 0 then
        move(lot, function(it)
          it[AT], it[DEADLINE] = 0, deadline_of(it[OPEN_MS])
        end)
      end
      if what == 'open' then lot[ATTEMPT] = attempt + 1 end
      renew(record, lot[DEADLINE])
    end
  end
  record.lots = kept
  for _, lot in ipairs(gone) do
    record.changed = true
    for _, hold in ipairs(lot[HOLDS]) do
      local heir
      for _, other in ipairs(kept) do
        if relies(other, hold[1]) and (not heir or other[AT] > heir[AT]) then heir = other end
      end
      if heir then pass_on(lot, hold, heir) end
      remove(lot, hold[1], hold[2])
    end
  end
end

local function trimmed(tally, sent)
  local count = 0
  for at in pairs(sent) do
    if at <= now - tally.keep then
      sent[at] = nil
    else
      count = count + 1
    end
  end
  if count > EXACT then
    local rounded = {}
    for at, units in pairs(sent) do
      local stop = at
      for _, slot in ipairs(SLOTS) do
        if slot > SLOTS[1] and slot * AGE > now - at then break end
        stop = (math.floor(at / slot) + 1) * slot - 1
      end
      if at < tally.cut then stop = math.min(stop, tally.cut - 1) end
      rounded[stop] = (rounded[stop] or 0) + units
    end
    return rounded
  end
  return sent
end

local function trim(tally)
  tally.sent = trimmed(tally, tally.sent)
  for name, sent in pairs(tally.others) do
    sent = trimmed(tally, sent)
    tally.others[name] = next(sent) and sent or nil
  end
end

-- Write what changed. `keep`: how long records stay. Records first: a full server refuses them, and with them all.
local function flush(keep)
  for key, record in pairs(records) do
    if record.changed then
      if #record.lots > 0 then
        redis.call('HSET', key, 'r', cmsgpack.pack(record.lots))
        redis.call('PEXPIRE', key, keep)
      else
        redis.call('HDEL', key, 'r')
      end
    end
  end
  for key, tally in pairs(tallies) do
    if tally.changed then
      trim(tally)
      local last = now + tally.keep
      for till in pairs(tally.open) do last = math.max(last, till) end
      if tally.since == 0 and not next(tally.sent) and not next(tally.open) and not next(tally.others) then
        redis.call('DEL', key)
      else
        local row = {tally.keep, tally.since, tally.cut, tally.sent, tally.open, tally.others}
        redis.call('SET', key, cmsgpack.pack(row), 'PXAT', last + SLACK)
      end
    end
  end
end

-- Series: name -> {live, keep, covered (-1 = not declared)}, in the hash `key` beside `born`.
local function series_of(key, name)
  local blob = redis.call('HGET', key, 's:' .. name)
  return blob and cmsgpack.unpack(blob) or {now, 0, -1}
end

local function load_series(key, keeps, write)
  if write then redis.call('HSETNX', key, 'born', now) end
  for name, keep in pairs(keeps) do
    local series = series_of(key, name)
    local kept = series[2]
    if keep > kept then
      if kept > 0 then
        -- What was kept for a shorter time is not known for a longer one.
        series[1] = math.max(series[1], now - kept)
        if series[3] >= 0 then series[3] = math.max(series[3], now - kept) end
      end
      series[2] = keep
      if write then redis.call('HSET', key, 's:' .. name, cmsgpack.pack(series)) end
    end
    seen_series[name] = series
  end
end

local function since_of(series, tally)
  local since = series[1]
  if series[3] >= 0 then since = math.min(since, series[3]) end
  if tally.since > 0 then
    local own = tally.since
    if tally.keep < series[2] then own = math.max(own, now - tally.keep) end
    since = math.min(since, own)
  end
  return since
end

-- When `over` units have left a rolling window.
local function room(tally, after, over, span)
  local times = {}
  for at in pairs(tally.sent) do
    if at > after then times[#times + 1] = {at, tally.sent[at]} end
  end
  for _, sent in pairs(tally.others) do
    for at, units in pairs(sent) do
      if at > after then times[#times + 1] = {at, units} end
    end
  end
  table.sort(times, function(one, other) return one[1] < other[1] end)
  for _, one in ipairs(times) do
    over = over - one[2]
    if over <= 0 then return one[1] + span end
  end
  return now + span
end

-- [used, open, limit, next_ms, why]; window: [kind, limit, span, must_know, edges]; why: 0 room, 1 limit, 2 history.
local function use_of(window, units, tally, since)
  local kind, limit, span, must_know, edges = unpack(window)
  local after, stop = now - span, nil
  if kind == 'calendar' then
    local number = 1
    for n = 2, 4 do
      if edges[n] <= now then number = n end
    end
    after, stop = edges[number] - 1, edges[number + 1] or now + 1000
  elseif kind == 'gap' then
    units = 1
  end
  local used = sent_after(tally, after) + tally.held
  local over = used + units - limit
  if over > 0 then
    if units > limit then return {used, tally.held, limit, 0, 1} end
    return {used, tally.held, limit, stop or room(tally, after, over, span), 1}
  end
  if must_know and since > after + 1 then
    return {used, tally.held, limit, stop or since + span, 2}
  end
  return {used, tally.held, limit, now, 0}
end

-- take: [counter key, series, units, per, counted_only, windows]; all windows of it, in order.
local function usage(take, windows)
  local tally = tally_of(KEYS[take[1]])
  local since = since_of(seen_series[take[2]], tally)
  local uses = {}
  for n, window in ipairs(windows[take[6]]) do
    uses[n] = use_of(window, take[3], tally, since)
  end
  return uses, since
end
