-- A counter is a hash. `at` is when it was written, in µs; `r` and `t` are how many seconds after that the moments lie
-- up to which requests and tokens are paid for. (A moment itself would lose digits: the clock has used them up.)

local function exact(number) return string.format('%.17g', number) end

local function read_counter(key)
    local row = redis.call('HMGET', key, 'at', 'r', 't')
    if not row[1] then return {r = 0, t = 0} end
    local passed_s = (now_us - tonumber(row[1])) / 1000000
    return {r = math.max(tonumber(row[2]) - passed_s, 0), t = math.max(tonumber(row[3]) - passed_s, 0)}
end

local function write_counter(key, counter)
    redis.call('HSET', key, 'at', whole(now_us), 'r', exact(counter.r), 't', exact(counter.t))
    redis.call('PEXPIRE', key, whole(math.ceil(math.max(counter.r, counter.t) * 1000) + 1000))
end
