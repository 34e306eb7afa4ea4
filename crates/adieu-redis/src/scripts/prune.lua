-- KEYS: state, log, lapses. ARGV: now, how many at most. Gives how many have gone.
local lapsed = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #lapsed == 0 then
    return 0
end
-- This changes nothing, and has the server allow the rest also when its memory is full: see commit.lua.
redis.call('HDEL', KEYS[1], '')
-- With the removal, and before it.
local marked = tonumber(redis.call('HGET', KEYS[1], 'pruned_through') or '0')
if marked < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], 'pruned_through', ARGV[1])
end
for _, position in ipairs(lapsed) do
    redis.call('XDEL', KEYS[2], position .. '-0')
    redis.call('ZREM', KEYS[3], position)
end
return #lapsed
