-- KEYS[7..9]: state, log, lapses. Whatever changes a session or appends to the log, if all is still as it was when that was
-- decided: {1, head, how many sessions ended as all of them, incarnation} then; {0, 0, 0, ''} when something has changed, and
-- {2, 0, 0, ''} when the log is not as it was seen last, and nothing is done.
local last = 0
local function take()
    last = last + 1
    return ARGV[last]
end

-- The log: as this node saw it last, or a reset.
local how = take()
local renewal
if how == 'reset' then
    renewal = {seen = take(), log = take(), after = take(), at = take()}
    if redis.call('HGET', KEYS[7], 'log') ~= renewal.seen then
        return {2, 0, 0, ''}
    end
elseif how == 'seen' then
    local log, head, place, fact = take(), tonumber(take()), take(), take()
    if redis.call('HGET', KEYS[7], 'log') ~= log or tonumber(redis.call('HGET', KEYS[7], 'head') or '0') < head then
        return {2, 0, 0, ''}
    end
    if fact ~= '' then
        local found = redis.call('XRANGE', KEYS[8], place .. '-0', place .. '-0')[1]
        if not found or found[2][2] ~= fact then
            return {2, 0, 0, ''}
        end
    end
end
-- Sessions, as they were read, or that there were none.
for _ = 1, tonumber(take()) do
    local id, expected = take(), take()
    local found = redis.call('HGET', KEYS[1], id)
    if (found and '+' .. found or '-') ~= expected then
        return {0, 0, 0, ''}
    end
end
-- How many sessions subjects have, so that with all of them unchanged there is no other.
for _ = 1, tonumber(take()) do
    local subject, expected = take(), tonumber(take())
    if redis.call('ZLEXCOUNT', KEYS[3], '[' .. subject, '(' .. subject .. '\255') ~= expected then
        return {0, 0, 0, ''}
    end
end
-- When all sessions end: how many were refreshed after a time, and until when any has access. How many there are does not matter, and
-- may change all the time.
local everything, ended = take() == '1', 0
if everything then
    local since, refreshed, longest = take(), tonumber(take()), tonumber(take())
    if redis.call('ZCOUNT', KEYS[4], '(' .. since, '+inf') ~= refreshed
        or tonumber(redis.call('ZREVRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2] or '0') > longest then
        return {0, 0, 0, ''}
    end
    ended = redis.call('HLEN', KEYS[1])
end

-- When the memory is full, the server denies what would use more, unless the script has written before: this changes nothing. A login
-- is denied.
if take() == '1' then
    redis.call('HDEL', KEYS[7], '')
end

-- The log before the sessions: should the server give up in between, a session that is revoked and there is refused all the
-- same. Its identity is drawn by whoever is first, also after somebody has emptied the server.
redis.call('HSETNX', KEYS[7], 'log', take())
if renewal then
    redis.call('HSET', KEYS[7], 'log', renewal.log, 'restored_at', renewal.at)
    if tonumber(redis.call('HGET', KEYS[7], 'head') or '0') < tonumber(renewal.after) then
        redis.call('HSET', KEYS[7], 'head', renewal.after)
    end
end
local count = tonumber(take())
local head = redis.call('HINCRBY', KEYS[7], 'head', count)
for position = head - count + 1, head do
    local fact, lapses_at = take(), take()
    local name = string.format('%.0f', position)
    redis.call('XADD', KEYS[8], name .. '-0', 'fact', fact)
    redis.call('ZADD', KEYS[9], lapses_at, name)
end

if everything then
    redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
end
for _ = 1, tonumber(take()) do
    remove(take())
end
for _ = 1, tonumber(take()) do
    put(take(), take(), take(), take(), take())
end
if how ~= 'seen' then
    return {1, head, ended, ''}
end
-- Who has done it, as with a read.
local function id(section, name)
    return string.sub(string.match(redis.call('INFO', section), name .. ':(%w+)'), 1, 12)
end
return {1, head, ended, id('server', 'run_id') .. '-' .. id('replication', 'master_replid')}
