-- KEYS: keys. ARGV: an id and a key.
if redis.call('HLEN', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('HGETALL', KEYS[1])
