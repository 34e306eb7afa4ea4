-- KEYS: keys. ARGV: an id and a key, or two empty texts; then the ids of those to be removed.
-- This changes nothing, and has the server allow the rest also when its memory is full: see commit.lua.
redis.call('HDEL', KEYS[1], '')
if ARGV[1] ~= '' then
    redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
for place = 3, #ARGV do
    redis.call('HDEL', KEYS[1], ARGV[place])
end
return redis.call('HGETALL', KEYS[1])
