-- Begin an account that is not open.
-- KEYS: the epoch, the account, what is set aside there, its corrections.
-- ARGV: a name for a new epoch, what is spent, how long it lasts in ms, the ids of corrections.

if find_account(KEYS[2], KEYS[3]) then return '0' end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[2], 'epoch', epoch, 'spent', ARGV[2], 'reserved', '0')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
if #ARGV > 3 then
    for i = 4, #ARGV do redis.call('SADD', KEYS[4], ARGV[i]) end
    redis.call('PEXPIRE', KEYS[4], ARGV[3])
end
return '1'
