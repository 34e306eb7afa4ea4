-- KEYS[7..9]: state, log, lapses. Changes sessions and appends to the log, if everything is as it was when that was decided. Returns
-- {1, head, how many sessions ended because all of them ended, incarnation, {}} then. Otherwise changes nothing and returns
-- {0, 0, 0, '', the places of the sessions that have changed}, or {2, 0, 0, '', {}} if the log is not as it was last seen.
local last = 0
local function take()
    last = last + 1
    return ARGV[last]
end
local function take_list(count)
    local list = {}
    for place = 1, count do
        list[place] = ARGV[last + place]
    end
    last = last + count
    return list
end

-- The log: as this node saw it last, or a reset.
local how = take()
local renewal
if how == 'reset' then
    renewal = {seen = take(), log = take(), after = take(), at = take()}
    if redis.call('HGET', KEYS[7], 'log') ~= renewal.seen then
        return {2, 0, 0, '', {}}
    end
elseif how == 'seen' then
    local log, head, place, fact = take(), tonumber(take()), take(), take()
    if redis.call('HGET', KEYS[7], 'log') ~= log or tonumber(redis.call('HGET', KEYS[7], 'head') or '0') < head then
        return {2, 0, 0, '', {}}
    end
    if fact ~= '' then
        local found = redis.call('XRANGE', KEYS[8], place .. '-0', place .. '-0')[1]
        if not found or found[2][2] ~= fact then
            return {2, 0, 0, '', {}}
        end
    end
end

-- Sessions, as they were read; empty for one that did not exist.
local sessions, changed = {}, {}
local count = tonumber(take())
local ids = take_list(count)
fetch(ids, sessions)
for place, id in ipairs(ids) do
    if (sessions[id] or '') ~= take() then
        changed[#changed + 1] = place - 1
    end
end
if #changed > 0 then
    return {0, 0, 0, '', changed}
end
-- How many sessions subjects have, so that with all of them unchanged there is no other.
for _ = 1, tonumber(take()) do
    local subject, expected = take(), tonumber(take())
    if redis.call('ZLEXCOUNT', KEYS[3], '[' .. subject, '(' .. subject .. '\255') ~= expected then
        return {0, 0, 0, '', {}}
    end
end
-- When all sessions end: how many were refreshed after a time, and until when any has access. How many there are does not matter, and
-- may change all the time.
local everything, ended = take() == '1', 0
if everything then
    local since, refreshed, longest = take(), tonumber(take()), tonumber(take())
    if redis.call('ZCOUNT', KEYS[4], '(' .. since, '+inf') ~= refreshed
        or tonumber(redis.call('ZREVRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2] or '0') > longest then
        return {0, 0, 0, '', {}}
    end
    ended = redis.call('HLEN', KEYS[1])
end

-- A server whose memory is full rejects commands that may use more, unless the script has written before. This write changes nothing; a
-- login does without it and is rejected.
if take() == '1' then
    redis.call('HDEL', KEYS[7], '')
end

-- The log before the sessions: if the server stops in between, a session that is still stored is revoked all the same. The first
-- writer gives the log its identity, also after the server was emptied.
redis.call('HSETNX', KEYS[7], 'log', take())
if renewal then
    redis.call('HSET', KEYS[7], 'log', renewal.log, 'restored_at', renewal.at)
    if tonumber(redis.call('HGET', KEYS[7], 'head') or '0') < tonumber(renewal.after) then
        redis.call('HSET', KEYS[7], 'head', renewal.after)
    end
end
local appended = tonumber(take())
local head = 0
if appended > 0 then
    head = redis.call('HINCRBY', KEYS[7], 'head', appended)
    local lapses = {}
    for position = head - appended + 1, head do
        local fact, name = take(), string.format('%.0f', position)
        redis.call('XADD', KEYS[8], name .. '-0', 'fact', fact)
        lapses[#lapses + 1] = take()
        lapses[#lapses + 1] = name
    end
    for_all('ZADD', KEYS[9], lapses)
end

local removed = take_list(tonumber(take()))
if everything then
    redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
else
    remove(removed, sessions)
end

-- Sessions to write. Each has an id, its text, and its scores in three indexes.
local put, texts, scores, unread = {}, {}, {{}, {}, {}}, {}
for place = 1, tonumber(take()) do
    local id = take()
    put[place] = id
    texts[2 * place - 1], texts[2 * place] = id, take()
    for _, index in ipairs(scores) do
        index[2 * place - 1], index[2 * place] = take(), id
    end
    if sessions[id] == nil then
        unread[#unread + 1] = id
    end
end
if #put > 0 then
    fetch(unread, sessions)
    local new_ids, new_members, old_members = {}, {}, {}
    for place, id in ipairs(put) do
        local before, subject = sessions[id], owner(texts[2 * place])
        if not before then
            new_ids[#new_ids + 1], new_ids[#new_ids + 2] = 0, id
        end
        if not before or owner(before) ~= subject then
            new_members[#new_members + 1], new_members[#new_members + 2] = 0, subject .. id
            if before then
                old_members[#old_members + 1] = owner(before) .. id
            end
        end
    end
    for_all('HSET', KEYS[1], texts)
    for_all('ZADD', KEYS[2], new_ids)
    for_all('ZREM', KEYS[3], old_members)
    for_all('ZADD', KEYS[3], new_members)
    for place, index in ipairs(scores) do
        for_all('ZADD', KEYS[3 + place], index)
    end
end
if how ~= 'seen' then
    return {1, head, ended, '', {}}
end
-- The identity of the server that has applied the changes, as with a read.
local function id(section, name)
    return string.sub(string.match(redis.call('INFO', section), name .. ':(%w+)'), 1, 12)
end
return {1, head, ended, id('server', 'run_id') .. '-' .. id('replication', 'master_replid'), {}}
