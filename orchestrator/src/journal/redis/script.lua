-- Everything that is written to a journal on Redis goes through here, so that Redis itself
-- refuses a stale holder, a repeat and a gap. No other rule lives in Lua.
--
-- KEYS: lock, fence, events, acked, then one set for each package state.
-- ARGV: holder, fence, lock's life in ms (0 gives it up), number and hash of the last event,
--       number and hash of the batch's last event, 1 to empty the sets first, up to which
--       event all is acknowledged, how many events, (seq, at, body, hash) of each, then moves
--       between the sets, which are counted from 1 with 0 for none: from, to, how many
--       members, and these.
-- Gives: "held" | "kept" | "moved", last id, its hash | "lapsed" | "deposed", who or what.
local lock, fence, events, acked = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local holder = redis.call('GET', lock)
if not holder then return {'lapsed'} end
if holder ~= ARGV[1] then return {'deposed', holder} end
local term = redis.call('GET', fence)
-- Ours, but another term of ours: it was taken anew a moment ago.
if term ~= ARGV[2] then return {'lapsed'} end
local function done(word)
  -- For standbys, whom it may reach late. Also what WAIT counts from: it looks at the last
  -- thing that its connection wrote. Last, as Redis asks whether it has memory left only
  -- before a script's first write.
  redis.pcall('SET', acked, ARGV[9])
  redis.call('PEXPIRE', lock, ARGV[3])
  return {word}
end
local count = tonumber(ARGV[10])
if count == 0 then return done('held') end

local id, hash = '0-0', ARGV[5]
local last = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
if last then
  id = last[1]
  for i = 1, #last[2], 2 do
    if last[2][i] == 'hash' then hash = last[2][i + 1] end
  end
end
-- The try before this one was kept, and only its answer was lost.
if id == ARGV[6] .. '-0' and hash == ARGV[7] then return done('kept') end
if id ~= ARGV[4] .. '-0' or hash ~= ARGV[5] then return {'moved', id, hash} end

for i = 0, count - 1 do
  local at = 11 + 4 * i
  redis.call('XADD', events, ARGV[at] .. '-0', 'at', ARGV[at + 1], 'event', ARGV[at + 2],
    'hash', ARGV[at + 3])
end
if ARGV[8] == '1' then
  for i = 5, #KEYS do redis.call('DEL', KEYS[i]) end
end
local at = 11 + 4 * count
while at <= #ARGV do
  local from, to, last = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), at + 2 + tonumber(ARGV[at + 2])
  -- They are for people; what is wrong with them must not stop the journal.
  if from > 0 then redis.pcall('SREM', KEYS[4 + from], unpack(ARGV, at + 3, last)) end
  if to > 0 then redis.pcall('SADD', KEYS[4 + to], unpack(ARGV, at + 3, last)) end
  at = last + 1
end
return done('kept')
