-- The ledger could be asked about all requeued jobs. KEYS meta · ARGV word
--include @onewriter/tenants/holders/reclaimed-since.part.lua
if reclaimedSince(redis.call('HGET', KEYS[1], 'onewriter.epoch'), ARGV[1]) then return 0 end
return redis.call('HDEL', KEYS[1], 'onewriter.doubt')
