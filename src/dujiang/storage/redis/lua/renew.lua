-- Leases go on. A call that the store has forgotten is inside again; money it has forgotten is not set aside again.
-- KEYS: of each lease where it is kept. ARGV: its length in ms; of each lease its name and `calls` or `money`.

local until_us = whole(now_us + ARGV[1] * 1000)
for i, key in ipairs(KEYS) do
    local member = ARGV[2 * i]
    if ARGV[2 * i + 1] == 'money' then
        redis.call('ZADD', key, 'XX', until_us, member)
    else
        redis.call('ZADD', key, until_us, member)
        redis.call('PEXPIRE', key, ARGV[1])
    end
end
return '1'
