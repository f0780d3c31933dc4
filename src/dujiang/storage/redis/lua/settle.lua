-- Money was spent. A batch that was counted already, as its number tells, changes nothing; nor does a row of an account
-- that is not of the row's epoch: it was opened anew since, with what is in the ledger.
-- KEYS: the numbers of the process; of each row an account and what is set aside there.
-- ARGV: number of the batch; of each row the epoch, what is free again (`LEASE:AMOUNT` or ''), and what was spent.

if tonumber(redis.call('HGET', KEYS[1], 'settle') or '0') >= tonumber(ARGV[1]) then return '0' end
redis.call('HSET', KEYS[1], 'settle', ARGV[1])
redis.call('PEXPIRE', KEYS[1], SENT_MS)

for i = 1, (#KEYS - 1) / 2 do
    local account, epoch, member, spent = KEYS[2 * i], ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
    if redis.call('HGET', account, 'epoch') == epoch then
        if member ~= '' and redis.call('ZREM', KEYS[2 * i + 1], member) == 1 then
            local amount = tonumber(string.match(member, ':(%-?%d+)$'))
            redis.call('HINCRBY', account, 'reserved', whole(0 - amount))
        end
        redis.call('HINCRBY', account, 'spent', spent)
    end
end
return '1'
