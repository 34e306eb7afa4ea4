-- KEYS: nodes. ARGV: a node, and how what it said last begins.
local said = redis.call('HGET', KEYS[1], ARGV[1])
if said and string.sub(said, 1, #ARGV[2]) == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
end
