-- Take the lease of Idempotency-Keys. ARGV: [keep_ms, [[key, fingerprint, new_id, lease_ms], ...]]; answers [[verdict, id, answer], ...].
-- `by` is the request that holds the lease: when it asks again (its answer was lost), the answer is the same.
local keep, items = unpack(cmsgpack.unpack(ARGV[1]))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, item in ipairs(items) do
  local key, fingerprint, new_id, lease = KEYS[item[1]], item[2], item[3], item[4]
  local fp, id, by, till, ans = unpack(redis.call('HMGET', key, 'fp', 'id', 'by', 'until', 'ans'))
  if id and fp and fp ~= fingerprint then
    answers[i] = {'other', '', ''}
  elseif ans then
    answers[i] = {'done', id, ans}
  elseif id and by ~= new_id and tonumber(till) > now then
    answers[i] = {'busy', id, ''}
  else
    id = id or new_id
    redis.call('HSET', key, 'fp', fingerprint, 'id', id, 'by', new_id, 'until', now + lease)
    redis.call('PEXPIRE', key, keep)
    answers[i] = {id == new_id and 'new' or 'retry', id, ''}
  end
end
return cmsgpack.pack(answers)
