-- Units for passes. ARGV: [keep_ms, series key, {series = keep_ms}, [windows, ...], [[record, step, attempt, open_ms, [take, ...], probe], ...]]
--   takes as in units.lua; `probe`: another shard has refused already: only say what is full here.
-- Answers [[take, window, used, open, limit, next_ms, why], ...]: none = reserved.
local keep, series_key, keeps, windows, items = unpack(cmsgpack.unpack(ARGV[1]))
load_series(KEYS[series_key], keeps, true)

local function denied_of(wanted)
  local denied = {}
  for _, one in ipairs(wanted) do
    local n, take = unpack(one)
    if not take[5] then
      for w, use in ipairs((usage(take, windows))) do
        if use[5] ~= 0 then denied[#denied + 1] = {n - 1, w - 1, unpack(use)} end
      end
    end
  end
  return denied
end

-- The takes that nothing of this message has paid yet, as [position, take]; the holds it relies on; whether `mine` is just this.
local function wanted_of(takes, record, mine, step)
  local paid, held, wanted, relied = {}, {}, {}, {}
  for _, lot in ipairs(record.lots) do
    for _, hold in ipairs(lot[HOLDS]) do
      if lot == mine then
        held[hold[1]] = hold
      elseif hold[2] > 0 and (hold[3] == 0 or (hold[3] == 1 and lot[STEP] == step)) then
        paid[hold[1]] = hold[3]
      end
    end
  end
  local same = mine ~= nil
  for n, take in ipairs(takes) do
    local key = KEYS[take[1]]
    if not paid[key] then
      wanted[#wanted + 1] = {n, take}
    elseif paid[key] == 0 then
      relied[#relied + 1] = {key, 0, take[4]}
    end
    if paid[key] ~= 1 then
      local hold = held[key]
      same = same and hold and hold[3] == take[4] and (take[4] == 0 or hold[2] == take[3])
    end
  end
  return wanted, relied, same and #mine[HOLDS] == #wanted + #relied
end

local function reserve(item)
  local key, step, attempt, open_ms, takes, probe = KEYS[item[1]], item[2], item[3], item[4], item[5], item[6]
  local record, deadline = record_of(key), deadline_of(open_ms)
  local mine, done = nil, false
  for _, lot in ipairs(record.lots) do
    if lot[STEP] == step then
      if lot[AT] == 0 then mine = mine or lot end
      done = done or lot[ATTEMPT] == attempt
    end
  end
  if not mine and done then return {} end -- spent already, by this very pass
  local wanted, relied, same = wanted_of(takes, record, mine, step)
  if probe then return same and {} or denied_of(wanted) end
  if mine and (attempt < mine[ATTEMPT] or same) then
    mine[ATTEMPT] = math.max(mine[ATTEMPT], attempt)
  else
    if mine then give_back(key, step, mine[ATTEMPT], 'undo') end -- it was to go another way
    local denied = denied_of(wanted)
    if #denied > 0 then return denied end
    mine = {step, attempt, deadline, open_ms, 0, relied}
    record.lots[#record.lots + 1] = mine
    for _, one in ipairs(wanted) do
      local take = one[2]
      local counter = KEYS[take[1]]
      local tally = tally_of(counter)
      tally.keep = math.max(tally.keep, seen_series[take[2]][2])
      relied[#relied + 1] = {counter, take[3], take[4]}
      add(mine, counter, take[3])
    end
  end
  renew(record, deadline)
  return {}
end

local answers = {}
for i, item in ipairs(items) do
  answers[i] = reserve(item)
end
flush(keep)
return cmsgpack.pack(answers)
