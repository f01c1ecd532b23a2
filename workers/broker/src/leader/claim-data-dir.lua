-- KEYS the group's record · ARGV id, record. Returns the record of another directory; else ''.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[2] then
  local ok, record = pcall(cjson.decode, owner)
  if ok and type(record) == 'table' and record.id ~= ARGV[1] then return owner end
end
if owner ~= ARGV[2] then
  -- A delete first lets the write through where Redis is full: see queue-scripts.ts.
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], ARGV[2])
end
return ''
