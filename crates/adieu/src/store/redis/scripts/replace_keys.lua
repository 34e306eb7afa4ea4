-- KEYS: keys. ARGV: an id and a key, or two empty texts; then the ids of those to be removed.
if ARGV[1] ~= '' then
    redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
for place = 3, #ARGV do
    redis.call('HDEL', KEYS[1], ARGV[place])
end
return redis.call('HGETALL', KEYS[1])
