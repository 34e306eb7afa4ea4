-- KEYS: sessions. ARGV: an id, a session as it was read and as it is to be, and so on; only when they were last used has changed,
-- which is in no index. Gives those ids whose sessions have changed meanwhile.
-- This changes nothing, and has the server allow the rest also when its memory is full: see commit.lua.
redis.call('HDEL', KEYS[1], '')
local changed = {}
for place = 1, #ARGV, 3 do
    local id, expected, session = ARGV[place], ARGV[place + 1], ARGV[place + 2]
    if redis.call('HGET', KEYS[1], id) == expected then
        redis.call('HSET', KEYS[1], id, session)
    else
        changed[#changed + 1] = id
    end
end
return changed
