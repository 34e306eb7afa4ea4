-- KEYS[1..6]: sessions, ids, subjects, refreshed, access, expiry. Put before the scripts that change sessions.

-- The maximum number of arguments of a command: Lua's stack has room for somewhat less than 8,000. Even, for arguments in pairs.
local MAX_ARGUMENTS = 4000

-- Runs a command on a key for all members of a list.
local function for_all(command, key, members)
    for first = 1, #members, MAX_ARGUMENTS do
        redis.call(command, key, unpack(members, first, math.min(first + MAX_ARGUMENTS - 1, #members)))
    end
end

-- Adds the sessions with these ids to a table by id; false for a session that does not exist.
local function fetch(ids, sessions)
    for first = 1, #ids, MAX_ARGUMENTS do
        local found = redis.call('HMGET', KEYS[1], unpack(ids, first, math.min(first + MAX_ARGUMENTS - 1, #ids)))
        for place, session in ipairs(found) do
            sessions[ids[first + place - 1]] = session
        end
    end
end

-- A session is stored with the length of its subject, a colon and its subject in front.
local function owner(session)
    local length, rest = string.match(session, '^(%d+):()')
    return string.sub(session, 1, rest - 1 + tonumber(length))
end

-- Removes sessions, which are in a table by id.
local function remove(ids, sessions)
    local members = {}
    for place, id in ipairs(ids) do
        members[place] = owner(sessions[id]) .. id
        sessions[id] = false
    end
    for_all('HDEL', KEYS[1], ids)
    for_all('ZREM', KEYS[3], members)
    for _, place in ipairs({2, 4, 5, 6}) do
        for_all('ZREM', KEYS[place], ids)
    end
end
