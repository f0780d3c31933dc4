-- Count an amount as spent of an open account, once for each id.
-- KEYS: the epoch, the account, what is set aside there, its corrections. ARGV: a name for a new epoch, id, amount.

if not find_account(KEYS[2], KEYS[3]) or redis.call('SADD', KEYS[4], ARGV[2]) == 0 then return '0' end
redis.call('PEXPIRE', KEYS[4], redis.call('PTTL', KEYS[2]))
redis.call('HINCRBY', KEYS[2], 'spent', ARGV[3])
return '1'
