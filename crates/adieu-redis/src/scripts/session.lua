-- KEYS[1..6]: sessions, ids, subjects, refreshed, access, expiry. Put before the scripts that change sessions.

-- A session is kept with the length of its subject, a colon and its subject in front.
local function owner(session)
    local length, rest = string.match(session, '^(%d+):()')
    return string.sub(session, 1, rest - 1 + tonumber(length))
end

local function remove(id)
    local session = redis.call('HGET', KEYS[1], id)
    if not session then
        return 0
    end
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('ZREM', KEYS[3], owner(session) .. id)
    redis.call('ZREM', KEYS[4], id)
    redis.call('ZREM', KEYS[5], id)
    redis.call('ZREM', KEYS[6], id)
    return 1
end

local function put(id, session, refreshed, access, expiry)
    remove(id)
    redis.call('HSET', KEYS[1], id, session)
    redis.call('ZADD', KEYS[2], 0, id)
    redis.call('ZADD', KEYS[3], 0, owner(session) .. id)
    redis.call('ZADD', KEYS[4], refreshed, id)
    redis.call('ZADD', KEYS[5], access, id)
    redis.call('ZADD', KEYS[6], expiry, id)
end
