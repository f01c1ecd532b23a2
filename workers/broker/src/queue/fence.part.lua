-- Only a reclaim makes a broker the owner of a queue. If Redis lost its data the field is gone, and an older leader may have
-- fetched jobs since, so the owner has to read the active jobs before it fetches more. Jobs of a held tenant are neither fetched
-- nor reclaimed: a program works on its file (ADR 0025).
local found = call('HMGET', meta, 'onewriter.epoch', 'paused', 'onewriter.holds', 'onewriter.bytes')
local paused, waitingBytes = found[2], found[4]
local refusal
if found[1] ~= word or found[3] then
  --include @onewriter/tenants/holders/reclaimed-since.part.lua
  local since, newest = reclaimedSince(found[1], word)
  if since == 'leader' then refusal = {-2, newest}
  elseif found[3] then refusal = {-4}
  else refusal = {-3} end
end
