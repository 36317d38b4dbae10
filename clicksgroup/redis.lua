-- One exchange of one process with the quota: what happened to it goes in, what it may start comes out.
--
-- KEYS[1] holds everything, as JSON: what is evicted or lost is lost whole, and noticed. ARGV[1] is the call, as JSON.
-- The decision is that of clicksgroup/quota/state.py and ledger.py, where it is explained and proven. What is said
-- twice changes nothing the second time, so a call whose reply was lost is simply made again.

local call = cjson.decode(ARGV[1])
local text = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local engine = tonumber(time[1]) + tonumber(time[2]) / 1000000

local state = text and cjson.decode(text) or {
  epoch = call.new_epoch, lost_epoch = '', changes = 0, quota = call.quota,
  origin = math.floor(engine), clock = 0, closed_until = 0, paused_until = 0, half_open = false, probe = '',
  offered = '', offered_at = 0, holders = {}, places = {}, answered = {}, queue = {},
}

-- The quota has a clock of its own, the engine's minus `origin`. When the engine's is set, the caller's own clock
-- shows it (twice, since a call that took long looks the same), and the origin moves along: to the quota nothing has
-- happened. Where no caller can tell, its clock at least never runs backwards. (Milliseconds survive cjson exactly.)
local now = engine - state.origin
local right = now
if call.epoch == state.epoch and math.abs(now - call.expected) > 1 then
  if not call.sure then return cjson.encode({ doubt = true }) end
  right = call.expected
end
right = math.max(right, state.clock)
if right ~= now then
  state.origin = math.floor((engine - right) * 1000) / 1000
  now = engine - state.origin
end

local memory = 0
for _, limit in ipairs(call.limits) do memory = math.max(memory, limit[2]) end

local function close()
  state.closed_until = math.max(state.closed_until, now + memory)
end

-- An engine that came back without what the caller knows, or with less of it: nobody starts for a window.
if call.epoch == state.epoch and call.changes > state.changes then
  close()
  state.lost_epoch, state.epoch, state.changes = state.epoch, call.new_epoch, call.changes
elseif call.epoch ~= '' and call.epoch ~= state.epoch and call.epoch ~= state.lost_epoch then
  close()
  state.lost_epoch = call.epoch
end

local function add_answered(at)
  local i = #state.answered
  while i > 0 and state.answered[i] > at do i = i - 1 end
  table.insert(state.answered, i + 1, at)
end

local function end_probe(id, passed)
  if state.probe == id then
    state.probe = ''
    state.half_open = not passed
  end
end

local function unqueue(keep)
  local queue = {}
  for _, entry in ipairs(state.queue) do
    if keep(entry) then table.insert(queue, entry) end
  end
  state.queue = queue
end

-- Whose lease ran out is gone: what it held ended then, at the latest.
if call.leaving then state.holders[call.holder] = nil else state.holders[call.holder] = now + call.lease end
local alone = true
for holder, lease in pairs(state.holders) do
  if lease <= now then
    state.holders[holder] = nil
    unqueue(function(entry) return entry[2] ~= holder end)
    for id, place in pairs(state.places) do
      if place.holder == holder and not place.back_at then
        if not place.answered then add_answered(lease) end
        state.places[id] = nil
        end_probe(id, false)
      end
    end
  elseif holder ~= call.holder then
    alone = false
  end
end

if state.quota ~= call.quota then
  if not alone then return cjson.encode({ other_quota = state.quota }) end
  state.quota = call.quota
end

local function orphan(id, place, at)
  place.back_at = at + call.orphan_hold
  if not place.answered then
    place.answered = true
    add_answered(place.back_at)
  end
  end_probe(id, false)
end

-- What an engine that lost its memory does not know to be held.
for id, answered in pairs(call.held) do
  if not state.places[id] then state.places[id] = { holder = call.holder, answered = answered } end
end

for _, event in ipairs(call.events) do
  local kind, id, at = event[1], event[2], now - event[3]
  local place = state.places[id]
  if kind == 'refunded' then
    unqueue(function(entry) return entry[1] ~= id end)
    state.places[id] = nil
    end_probe(id, false)
  elseif place and kind == 'abandoned' then
    orphan(id, place, at)
  elseif place then
    if not place.answered then
      place.answered = true
      add_answered(at)
    end
    if kind == 'answered' then
      end_probe(id, true)
    elseif kind == 'throttled' then
      state.paused_until = math.max(state.paused_until, at + event[4])
      state.half_open, state.probe = true, ''
    else
      end_probe(id, false)
      state.places[id] = nil
    end
  end
end

local asked = {}
for _, id in ipairs(call.tickets) do asked[id] = true end

local in_flight, unanswered, first_back = 0, 0, nil
for id, place in pairs(state.places) do
  if place.holder == call.holder and call.held[id] == nil and not asked[id] and not place.back_at then
    orphan(id, place, now) -- an engine that went back in time knows what ended long ago as open
  end
  if place.back_at and place.back_at <= now then
    state.places[id] = nil
  else
    in_flight = in_flight + 1
    if not place.answered then unanswered = unanswered + 1 end
    if place.back_at then first_back = math.min(first_back or place.back_at, place.back_at) end
  end
end

local forgotten = 0
while state.answered[forgotten + 1] and state.answered[forgotten + 1] <= now - memory do forgotten = forgotten + 1 end
if forgotten > 0 then
  local answered = {}
  for i = forgotten + 1, #state.answered do table.insert(answered, state.answered[i]) end
  state.answered = answered
end

local first_counted = {}
for i, limit in ipairs(call.limits) do
  first_counted[i] = 1
  while state.answered[first_counted[i]] and state.answered[first_counted[i]] <= now - limit[2] do
    first_counted[i] = first_counted[i] + 1
  end
end

-- Seconds until time lets a request start that has so many before it; nil if somebody must act first.
local function delay(ahead)
  local wait = math.max(state.paused_until, state.closed_until) - now
  if state.half_open and (state.probe ~= '' or ahead > 0) then return nil end
  if in_flight >= call.in_flight then
    if not first_back then return nil end
    wait = math.max(wait, first_back - now)
  end
  for i, limit in ipairs(call.limits) do
    local excess = unanswered + ahead + #state.answered - first_counted[i] + 1 - limit[1]
    if excess >= 0 then
      local at = state.answered[first_counted[i] + excess]
      if not at then return nil end
      wait = math.max(wait, at + limit[2] - now)
    end
  end
  return math.max(wait, 0)
end

local queued, granted = {}, {}
unqueue(function(entry) return entry[2] ~= call.holder or asked[entry[1]] end)
for _, entry in ipairs(state.queue) do queued[entry[1]] = true end
for _, id in ipairs(call.tickets) do
  if state.places[id] then
    table.insert(granted, id) -- the last reply was lost
  elseif not queued[id] then
    table.insert(state.queue, { id, call.holder })
  end
end

-- First come, first served, in whichever process; one that does not come when it could loses its turn.
local offered = ''
while #state.queue > 0 and delay(0) == 0 do
  local id, holder = state.queue[1][1], state.queue[1][2]
  if holder == call.holder then
    state.places[id] = { holder = holder, answered = false }
    in_flight, unanswered = in_flight + 1, unanswered + 1
    if state.half_open then state.probe = id end
    table.insert(granted, id)
  else
    if state.offered ~= id then state.offered, state.offered_at = id, now end
    if now - state.offered_at < call.turn then
      offered = id
      break
    end
  end
  table.remove(state.queue, 1)
end
state.offered = offered

local again = -1
for i, entry in ipairs(state.queue) do
  if entry[2] == call.holder then
    again = delay(i - 1) or math.max(state.paused_until, state.closed_until) - now
    break
  end
end

state.changes, state.clock = state.changes + 1, now
redis.call('SET', KEYS[1], cjson.encode(state))
return cjson.encode({
  epoch = state.epoch, changes = state.changes, now = now,
  granted = granted, again = again, paused = math.max(state.paused_until - now, 0),
})
