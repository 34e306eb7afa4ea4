-- ARGV: now, how many at most. Gives how many have gone.
local expired = redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(expired) do
    remove(id)
end
return #expired
