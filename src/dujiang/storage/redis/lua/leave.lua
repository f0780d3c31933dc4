-- Calls are over. A batch that was counted already, as its number tells, changes nothing.
-- KEYS: the numbers of the process; of each row a counter and the leases of the calls inside.
-- ARGV: number of the batch; of each row a lease or '', and the seconds of tokens more than were counted, or ''.

if tonumber(redis.call('HGET', KEYS[1], 'leave') or '0') >= tonumber(ARGV[1]) then return '0' end
redis.call('HSET', KEYS[1], 'leave', ARGV[1])
redis.call('PEXPIRE', KEYS[1], SENT_MS)

for i = 1, (#KEYS - 1) / 2 do
    local lease, unforeseen_s = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
    if lease ~= '' then redis.call('ZREM', KEYS[2 * i + 1], lease) end
    if unforeseen_s then
        local counter = read_counter(KEYS[2 * i])
        counter.t = math.max(math.min(counter.t + unforeseen_s, PERIOD_S + DEBT_S), 0)
        write_counter(KEYS[2 * i], counter)
    end
end
return '1'
