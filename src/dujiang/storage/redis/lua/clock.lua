local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]

-- Lua's own text of a number has 14 digits: too few for a moment, and for money.
local function whole(number) return string.format('%.0f', number) end
