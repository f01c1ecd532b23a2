-- The time by Redis' clock: `now`, ms. Records of several machines can be compared.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
