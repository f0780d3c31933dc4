-- KEYS: the epoch; of each account itself and what is set aside there. ARGV: a name for a new epoch.
-- Answers `SPENT RESERVED` of each, or `- -` where it is not open.

local answer = {}
for i = 1, (#KEYS - 1) / 2 do
    local account = find_account(KEYS[2 * i], KEYS[2 * i + 1])
    answer[#answer + 1] = account and whole(account.spent) .. ' ' .. whole(account.reserved) or '- -'
end
return table.concat(answer, ' ')
