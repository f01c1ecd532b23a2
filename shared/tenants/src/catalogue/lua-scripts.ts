// Generated from the .lua files beside it: npm run lua.

/**
 * Which tenants are paused or have holds (holders/hold-scripts.ts), and how many jobs wait.
 * KEYS meta and wait of each tenant
 * Returns index and jobs of each of those.
 */
export const FIND_STILL = `
local found = {}
for i = 1, #KEYS, 2 do
  local meta = redis.call('HMGET', KEYS[i], 'paused', 'onewriter.holds')
  if meta[1] or meta[2] then
    found[#found + 1] = (i - 1) / 2
    found[#found + 1] = redis.call('LLEN', KEYS[i + 1])
  end
end
return found
`;
