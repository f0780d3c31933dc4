-- Count a call in all counters or in none.
-- KEYS: of each bound its counter and the leases of the calls inside.
-- ARGV: lease, its length in ms, tokens; of each bound requests and tokens a minute and calls at once, or ''.
-- Answers `0 r t r t …`, the seconds that each counter is ahead now, or `BOUND LIMIT SECONDS` of the one that refused.

local lease, lease_ms, tokens = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local counters = {}

for i = 1, #KEYS / 2 do
    local rpm, tpm, concurrency = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
    if concurrency then
        redis.call('ZREMRANGEBYSCORE', KEYS[2 * i], '-inf', whole(now_us))
        if redis.call('ZCARD', KEYS[2 * i]) >= concurrency then return i .. ' concurrency 0' end
    end
    if rpm or tpm then
        local key = KEYS[2 * i - 1]
        counters[key] = counters[key] or read_counter(key)
        local counter = counters[key]
        if rpm and counter.r + PERIOD_S / rpm > FULL_S then return i .. ' requests ' .. exact(counter.r) end
        if tpm and counter.t + math.min(tokens, tpm) * PERIOD_S / tpm > FULL_S then
            return i .. ' tokens ' .. exact(counter.t)
        end
    end
end

local answer = {'0'}
for i = 1, #KEYS / 2 do
    local rpm, tpm, concurrency = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
    local counter = counters[KEYS[2 * i - 1]] or {r = 0, t = 0}
    if concurrency then
        redis.call('ZADD', KEYS[2 * i], whole(now_us + lease_ms * 1000), lease)
        redis.call('PEXPIRE', KEYS[2 * i], lease_ms)
    end
    if rpm then counter.r = counter.r + PERIOD_S / rpm end
    if tpm then counter.t = counter.t + math.min(tokens, tpm) * PERIOD_S / tpm end
    if rpm or tpm then write_counter(KEYS[2 * i - 1], counter) end
    answer[#answer + 1] = exact(counter.r)
    answer[#answer + 1] = exact(counter.t)
end
return table.concat(answer, ' ')
