-- Whether a leader has reclaimed a queue since a command was sent: its own leader or a newer one. `word` is '<epoch>.<turn>', and
-- the turn is 0 where it is missing. Returns 'leader' (and the newer epoch), 'turn', or nil.
local function readTurn(word)
  local epoch, turn = string.match(word or '', '^(%d+)%.?(%d*)')
  return tonumber(epoch) or 0, tonumber(turn) or 0
end
local function reclaimedSince(noted, word)
  local newest, last = readTurn(noted)
  local epoch, turn = readTurn(word)
  if newest > epoch then return 'leader', newest end
  if newest == epoch and last > turn then return 'turn' end
end
