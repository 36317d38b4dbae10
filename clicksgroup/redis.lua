-- One exchange of a process with the quota: its events go in, the requests that may start come out.
--
-- KEYS[1] holds the whole state as JSON, so it can only be lost as a whole, and that is noticed. ARGV[1] is the call as
-- JSON. The decision is that of clicksgroup/quota/state.py and ledger.py, which explain and prove it. Events that come
-- twice change nothing the second time, so a call whose answer was lost is simply made again.

local call = cjson.decode(ARGV[1])
local text = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local server_time = tonumber(time[1]) + tonumber(time[2]) / 1000000

local state = text and cjson.decode(text) or {
  epoch = call.new_epoch, lost_epoch = '', changes = 0, quota = call.quota,
  origin = math.floor(server_time), clock = 0, closed_until = 0, paused_until = 0, half_open = false, probe = '',
  offered = '', offered_at = 0, holders = {}, places = {}, answered = {}, queue = {},
}

-- The quota has a clock of its own: the server's minus `origin`. When the server's clock is set, the caller's own clock
-- shows it, and the origin moves by the same step. A call that took long looks the same, so the caller confirms with a
-- second call. Where no caller can tell, the quota's clock at least never runs backwards. The origin has whole
-- milliseconds, which cjson keeps exactly.
local now = server_time - state.origin
local right = now
if call.epoch == state.epoch and math.abs(now - call.expected_now) > 1 then
  if not call.clock_confirmed then return cjson.encode({ clock_differs = true }) end
  right = call.expected_now
end
right = math.max(right, state.clock)
if right ~= now then
  state.origin = math.floor((server_time - right) * 1000) / 1000
  now = server_time - state.origin
end

local memory = 0
for _, limit in ipairs(call.limits) do memory = math.max(memory, limit[2]) end

local function block_one_window()
  state.closed_until = math.max(state.closed_until, now + memory)
end

-- Redis came back without what the caller knows, or with less of it: nothing is granted for one window.
if call.epoch == state.epoch and call.changes > state.changes then
  block_one_window()
  state.lost_epoch, state.epoch, state.changes = state.epoch, call.new_epoch, call.changes
elseif call.epoch ~= '' and call.epoch ~= state.epoch and call.epoch ~= state.lost_epoch then
  block_one_window()
  state.lost_epoch = call.epoch
end

local function add_answered(at)
  local i = #state.answered
  while i > 0 and state.answered[i] > at do i = i - 1 end
  table.insert(state.answered, i + 1, at)
end

local function end_trial(id, passed)
  if state.probe == id then
    state.probe = ''
    state.half_open = not passed
  end
end

local function filter_queue(keep)
  local queue = {}
  for _, entry in ipairs(state.queue) do
    if keep(entry) then table.insert(queue, entry) end
  end
  state.queue = queue
end

-- A lease that has expired belongs to a dead process. Its requests ended when the lease did, at the latest.
if call.leaving then state.holders[call.holder] = nil else state.holders[call.holder] = now + call.lease end
local alone = true
for holder, lease in pairs(state.holders) do
  if lease <= now then
    state.holders[holder] = nil
    filter_queue(function(entry) return entry[2] ~= holder end)
    for id, place in pairs(state.places) do
      if place.holder == holder and not place.back_at then
        if not place.answered then add_answered(lease) end
        state.places[id] = nil
        end_trial(id, false)
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
  end_trial(id, false)
end

-- Where Redis lost its memory, it does not know the caller's slots.
for id, answered in pairs(call.held) do
  if not state.places[id] then state.places[id] = { holder = call.holder, answered = answered } end
end

for _, event in ipairs(call.events) do
  local kind, id, at = event[1], event[2], now - event[3]
  local place = state.places[id]
  if kind == 'refunded' then
    filter_queue(function(entry) return entry[1] ~= id end)
    state.places[id] = nil
    end_trial(id, false)
  elseif place and kind == 'abandoned' then
    orphan(id, place, at)
  elseif place then
    if not place.answered then
      place.answered = true
      add_answered(at)
    end
    if kind == 'answered' then
      end_trial(id, true)
    elseif kind == 'throttled' then
      state.paused_until = math.max(state.paused_until, at + event[4])
      state.half_open, state.probe = true, ''
    else
      end_trial(id, false)
      state.places[id] = nil
    end
  end
end

local waiting = {}
for _, id in ipairs(call.request_ids) do waiting[id] = true end

local in_flight, unanswered, first_back = 0, 0, nil
for id, place in pairs(state.places) do
  if place.holder == call.holder and call.held[id] == nil and not waiting[id] and not place.back_at then
    -- An older memory came back: it takes requests for open that ended long ago.
    orphan(id, place, now)
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

-- Seconds until time lets a request start that has so many before it; nil if a process must act first.
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
filter_queue(function(entry) return entry[2] ~= call.holder or waiting[entry[1]] end)
for _, entry in ipairs(state.queue) do queued[entry[1]] = true end
for _, id in ipairs(call.request_ids) do
  if state.places[id] then
    -- The answer of the call that granted it was lost.
    table.insert(granted, id)
  elseif not queued[id] then
    table.insert(state.queue, { id, call.holder })
  end
end

-- First come, first served across processes. A process that does not call when it could start loses its turn.
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
    if now - state.offered_at < call.turn_timeout then
      offered = id
      break
    end
  end
  table.remove(state.queue, 1)
end
state.offered = offered

local retry_in = -1
for i, entry in ipairs(state.queue) do
  if entry[2] == call.holder then
    retry_in = delay(i - 1) or math.max(state.paused_until, state.closed_until) - now
    break
  end
end

state.changes, state.clock = state.changes + 1, now
redis.call('SET', KEYS[1], cjson.encode(state))
return cjson.encode({
  epoch = state.epoch, changes = state.changes, now = now,
  granted = granted, retry_in = retry_in, pause_left = math.max(state.paused_until - now, 0),
})
