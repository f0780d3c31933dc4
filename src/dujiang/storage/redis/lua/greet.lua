-- A process is there. The epoch begins anew where there is none, and where the server started again: it may have lost
-- what was written last.
-- KEYS: the epoch, the processes. ARGV: a name for a new epoch, how names of this run of the server begin, the process,
-- after how many ms without a greeting it is taken for gone, the channel on which a new one is announced.
-- Answers `EPOCH NUMBER-OF-PROCESSES`.

local epoch = redis.call('GET', KEYS[1])
if not epoch or string.sub(epoch, 1, #ARGV[2]) ~= ARGV[2] then epoch = ARGV[1] end
redis.call('SET', KEYS[1], epoch, 'PX', EPOCH_MS)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now_us))
local is_new = redis.call('ZADD', KEYS[2], whole(now_us + ARGV[4] * 1000), ARGV[3]) == 1
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local processes = redis.call('ZCARD', KEYS[2])
if is_new then redis.call('PUBLISH', ARGV[5], processes) end
return epoch .. ' ' .. processes
