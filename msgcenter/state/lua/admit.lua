-- Let passes go, or not. ARGV: [keep_ms, call, first_gate, [[key, pass, owner, deadline_ms, [gate, ...], held, again], ...]]; answers [[verdict, value], ...] ({held, rule, remaining_ms}).
-- KEYS from `first_gate` on are suppressions, read at once. `call` names this call: the claim that an item left when the
-- same call was tried before (and its answer lost) is its own; the same pass twice in one call is two items.
-- `again`: the pass was in a worker's hands before; without any trace of its message State has lost its memory.
-- `held`: [] or [record, step, attempt, whether other shards hold their part]: its units are spent with the claim.
local keep, call, first_gate, items = unpack(cmsgpack.unpack(ARGV[1]))
local rules = {}
for from = first_gate, #KEYS, 1000 do
  local found = redis.call('MGET', unpack(KEYS, from, math.min(from + 999, #KEYS)))
  for n, rule in ipairs(found) do
    rules[from + n - 1] = rule
  end
end
local answers = {}
for i, item in ipairs(items) do
  local key, pass, owner, deadline, gates, held = KEYS[item[1]], item[2], item[3], item[4], item[5], item[6]
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
    elseif item[7] and redis.call('EXISTS', key) == 0 then
      answers[i] = {'forgotten', 0}
    else
      local rule, pause, until_ms = false, false, 0
      for _, gate in ipairs(gates) do
        local word = rules[gate]
        if word and string.sub(word, 1, 1) == '~' then
          -- A pause: the one that lasts longest is told (0 = until lifted); a suppression goes before it.
          local ends, why = string.match(word, '^~(%d+)|(.*)$')
          ends = tonumber(ends)
          if not pause or (until_ms > 0 and (ends == 0 or ends > until_ms)) then
            pause, until_ms = why, ends
          end
        elseif word then
          rule = word
          break
        end
      end
      if rule or pause then
        -- The first try of this very call may have been let go before the suppression came: nothing left, take it back.
        if claim then
          redis.call('HDEL', key, 'c:' .. pass)
        end
        if rule then
          answers[i] = {'suppressed', rule}
        else
          answers[i] = {'held', pause, until_ms > 0 and math.max(0, until_ms - now) or 0}
        end
      elseif held[1] and not (held[4] and confirm(KEYS[held[1]], held[2], held[3])) then
        answers[i] = {'unreserved', 0}
      else
        redis.call('HSET', key, 'c:' .. pass, string.format('%d|%s|%s', now + deadline, mine, owner))
        redis.call('PEXPIRE', key, keep)
        answers[i] = {'go', 0}
      end
    end
  end
end
flush(keep)
return cmsgpack.pack(answers)
