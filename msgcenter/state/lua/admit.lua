-- Let passes go, or not. ARGV: [keep_ms, call, first_gate, [[key, pass, owner, deadline_ms, [gate, ...]], ...]]; answers [[verdict, value], ...].
-- KEYS from `first_gate` on are suppressions, read at once. `call` names this call: the claim that an item left when the
-- same call was tried before (and its answer lost) is its own; the same pass twice in one call is two items.
local keep, call, first_gate, items = unpack(cmsgpack.unpack(ARGV[1]))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local rules = {}
for from = first_gate, #KEYS, 1000 do
  local found = redis.call('MGET', unpack(KEYS, from, math.min(from + 999, #KEYS)))
  for n, rule in ipairs(found) do
    rules[from + n - 1] = rule
  end
end
local answers = {}
for i, item in ipairs(items) do
  local key, pass, owner, deadline, gates = KEYS[item[1]], item[2], item[3], item[4], item[5]
  local mine = call .. '.' .. i
  local outcome, claim = unpack(redis.call('HMGET', key, 'o:' .. pass, 'c:' .. pass))
  if outcome then
    answers[i] = {'done', outcome}
  else
    local till, by
    if claim then
      till, by = string.match(claim, '^(%d+)|([^|]*)|')
    end
    if claim and by ~= mine then
      local remaining = tonumber(till) - now
      answers[i] = remaining > 0 and {'claimed', remaining} or {'abandoned', 0}
    else
      local rule = false
      for _, gate in ipairs(gates) do
        rule = rules[gate]
        if rule then
          break
        end
      end
      if rule then
        -- The first try of this very call may have been let go before the suppression came: nothing left, take it back.
        if claim then
          redis.call('HDEL', key, 'c:' .. pass)
        end
        answers[i] = {'suppressed', rule}
      else
        redis.call('HSET', key, 'c:' .. pass, string.format('%d|%s|%s', now + deadline, mine, owner))
        redis.call('PEXPIRE', key, keep)
        answers[i] = {'go', 0}
      end
    end
  end
end
return cmsgpack.pack(answers)
