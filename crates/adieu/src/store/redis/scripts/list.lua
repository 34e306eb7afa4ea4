-- KEYS: sessions, an index. ARGV: from, to, how many at most, and how much of what is found in the index comes before the id.
local sessions = {}
for _, found in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
    local session = redis.call('HGET', KEYS[1], string.sub(found, tonumber(ARGV[4]) + 1))
    if session then
        sessions[#sessions + 1] = session
    end
end
return sessions
