-- KEYS: sessions, ids.
local first = redis.call('ZRANGEBYLEX', KEYS[2], '-', '+', 'LIMIT', 0, 1)[1]
return first and redis.call('HGET', KEYS[1], first)
