-- Keeps this broker's locks alive. KEYS active (names the slot) · ARGV prefix, token, lockMs, ids
-- Returns how many it still has.
local renewed = 0
for i = 4, #ARGV do
  local lock = ARGV[1] .. ARGV[i] .. ':lock'
  if redis.call('GET', lock) == ARGV[2] then renewed = renewed + redis.call('PEXPIRE', lock, ARGV[3]) end
end
return renewed
