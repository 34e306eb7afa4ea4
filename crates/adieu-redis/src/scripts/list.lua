-- KEYS: sessions, subjects. ARGV: from, to, how many at most.
local sessions = {}
for _, found in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
    -- The id comes after the length of its subject, a colon and its subject.
    local length, rest = string.match(found, '^(%d+):()')
    local session = redis.call('HGET', KEYS[1], string.sub(found, rest + tonumber(length)))
    if session then
        sessions[#sessions + 1] = session
    end
end
return sessions
