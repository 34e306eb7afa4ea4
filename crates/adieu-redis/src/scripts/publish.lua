-- KEYS: nodes, state. ARGV: a node, what it says, and an identity for a log that has none. Gives the identity of the log, and who has
-- done it, as with a read.
-- This changes nothing, and has the server allow the rest also when its memory is full: see commit.lua.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSETNX', KEYS[2], 'log', ARGV[3])
local function id(section, name)
    return string.sub(string.match(redis.call('INFO', section), name .. ':(%w+)'), 1, 12)
end
return {redis.call('HGET', KEYS[2], 'log'), id('server', 'run_id') .. '-' .. id('replication', 'master_replid')}
