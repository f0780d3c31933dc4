-- An account is a hash of one epoch: `epoch`, `spent`, `reserved`. Beside it lie a sorted set of what is set aside, each
-- `LEASE:AMOUNT` with the µs at which it ends, and a set of the ids of corrections.
-- KEYS[1] holds the epoch, which begins anew with the data: then ARGV[1] is its name.

local epoch = redis.call('GET', KEYS[1])
if not epoch then
    epoch = ARGV[1]
    redis.call('SET', KEYS[1], epoch, 'PX', EPOCH_MS)
end

local function amount_of(member) return tonumber(string.match(member, ':(%-?%d+)$')) end

-- What is spent and set aside, without what has ended; nil where the account is not open.
local function find_account(key, leases)
    local row = redis.call('HMGET', key, 'epoch', 'spent', 'reserved')
    if row[1] ~= epoch then return nil end
    local reserved = tonumber(row[3])
    local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', whole(now_us))
    if #ended > 0 then
        for _, member in ipairs(ended) do reserved = reserved - amount_of(member) end
        redis.call('ZREMRANGEBYSCORE', leases, '-inf', whole(now_us))
        redis.call('HSET', key, 'reserved', whole(reserved))
    end
    return {spent = tonumber(row[2]), reserved = reserved}
end
