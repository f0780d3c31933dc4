-- Set money aside in all accounts or in none.
-- KEYS: the epoch; of each hold its account and what is set aside there.
-- ARGV: a name for a new epoch, lease, its length in ms; of each hold its amount and the account's limit.
-- Answers `unopened HOLD …`, `short HOLD SPENT RESERVED`, or `held EPOCH SPENT RESERVED SPENT RESERVED …`.

local lease, lease_ms = ARGV[2], tonumber(ARGV[3])
local found, unopened = {}, {'unopened'}
local holds = (#KEYS - 1) / 2

for i = 1, holds do
    found[i] = find_account(KEYS[2 * i], KEYS[2 * i + 1])
    if not found[i] then unopened[#unopened + 1] = whole(i) end
end
if #unopened > 1 then return table.concat(unopened, ' ') end

for i = 1, holds do
    local account, amount, limit = found[i], tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
    local fits = account.spent + account.reserved + amount <= limit
    if not fits and (account.reserved > 0 or account.spent >= limit) then
        return table.concat({'short', whole(i), whole(account.spent), whole(account.reserved)}, ' ')
    end
end

local answer = {'held', epoch}
for i = 1, holds do
    local account, leases, amount = KEYS[2 * i], KEYS[2 * i + 1], ARGV[2 * i + 2]
    local reserved = redis.call('HINCRBY', account, 'reserved', amount)
    redis.call('ZADD', leases, whole(now_us + lease_ms * 1000), lease .. '.' .. i .. ':' .. amount)
    redis.call('PEXPIRE', leases, redis.call('PTTL', account))
    answer[#answer + 1] = whole(found[i].spent)
    answer[#answer + 1] = whole(reserved)
end
return table.concat(answer, ' ')
