-- KEYS: nodes. ARGV: a node, and how what it said last begins. Of what it said, all but the beat stays.
local said = redis.call('HGET', KEYS[1], ARGV[1])
if said and string.sub(said, 1, #ARGV[2]) == ARGV[2] then
    redis.call('HSET', KEYS[1], ARGV[1], '0 ' .. string.sub(said, #ARGV[2] + 1))
end
