-- ARGV: now, how many at most. Returns how many sessions were removed.
local expired = redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
local sessions = {}
fetch(expired, sessions)
remove(expired, sessions)
return #expired
