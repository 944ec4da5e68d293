"""The Lua that runs inside the audit store: what has to happen as one step, or would take many round trips.

Keys lie below a prefix: `entries` the stream, ids `<sequence>-0`, gapless from 1; `sequence` the number of the last entry;
`open` the intents without an outcome; `ids:<last two bytes>` hashes that lead from an id to `<sequence>`, of a change that
has ended to `<sequence of the intent>:<of the outcome>`; `reached` and `left` lead from a second to sequence numbers;
`by:…` the indexes, each a list of sequence numbers in order.

A list takes 5 to 7 bytes per number whatever its length, far less than a long sorted set or a short stream (docs/audit.md). Whoever seeks a number in it does so by bisection.
"""

_IDS = """
local function ids_of(prefix, id)
    return string.format('%sids:%02x%02x', prefix, string.byte(id, -2), string.byte(id, -1))
end
"""

# Entries leave a script as one JSON text: their bodies are JSON already, and a client takes one long answer far faster than
# many short ones.
_STORED = """
local function as_json(sequence, body)
    return '{"sequence":' .. sequence .. ',"entry":' .. body .. '}'
end

local function stored(stream, sequence)
    local found = redis.call('XRANGE', stream, sequence .. '-0', sequence .. '-0')[1]
    return found and as_json(sequence, found[2][2])
end
"""

# The position of the first item whose leading number is at least `wanted`; the length where there is none.
_SEEK = """
local function seek(list, wanted)
    local low, high = 0, redis.call('LLEN', list)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if tonumber(string.match(redis.call('LINDEX', list, middle), '^%d+')) < wanted then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end
"""

# An outcome needs an open intent, an intent or a fact must be new; what is refused changes nothing. An outcome is
# indexed as its intent is. KEYS: the stream, the counter, the open intents, `reached`, `left`. ARGV: the prefix; entries as
# MessagePack (which knows no bytes here), each [kind, second, body, indexes, indexes that its outcome shares]; their ids.
APPEND = (
    _IDS
    + """
local stream, counter, open, reached, left = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, entries = ARGV[1], cmsgpack.unpack(ARGV[2])
local before = tonumber(redis.call('GET', counter) or 0)
local sequence, indexed, seconds = before, {}, {}
local latest = tonumber(string.match(redis.call('LINDEX', reached, -1) or '-1', '^-?%d+'))

local function index(names)
    for _, name in ipairs(names) do
        indexed[name] = indexed[name] or {}
        table.insert(indexed[name], sequence)
    end
end

for at, entry in ipairs(entries) do
    local id, kind, second, body, own, shared = ARGV[at + 2], unpack(entry)
    local ids = ids_of(prefix, id)
    local place, state = redis.call('HGET', ids, id), nil
    if kind == 'outcome' then state = redis.call('HGET', open, id) end
    if state or (kind ~= 'outcome' and not place) then
        sequence = sequence + 1
        redis.call('XADD', stream, sequence .. '-0', 'entry', body)
        if state then
            shared, place = cmsgpack.unpack(state)[2], place .. ':' .. sequence
            redis.call('HDEL', open, id)
        else
            place = sequence
        end
        redis.call('HSET', ids, id, place)
        if kind == 'intent' then redis.call('HSET', open, id, cmsgpack.pack({sequence, shared})) end
        index(own)
        index(shared)
        if second > latest then
            latest = second
            redis.call('RPUSH', reached, second .. ':' .. sequence)
        end
        while #seconds > 0 and seconds[#seconds][1] >= second do table.remove(seconds) end
        table.insert(seconds, {second, sequence})
    end
end
if sequence == before then return 0 end

redis.call('INCRBY', counter, sequence - before)
for name, sequences in pairs(indexed) do
    for at = 1, #sequences, 1000 do
        redis.call('RPUSH', prefix .. name, unpack(sequences, at, math.min(at + 999, #sequences)))
    end
end
while true do
    local last = redis.call('LINDEX', left, -1)
    if not last or tonumber(string.match(last, '^%d+')) < seconds[1][1] then break end
    redis.call('RPOP', left)
end
for _, each in ipairs(seconds) do
    redis.call('RPUSH', left, each[1] .. ':' .. each[2])
end
return sequence - before
"""
)

# The entries with these sequence numbers in an index, or in the stream where none is named: how many were looked at, the
# number of the last one, and those that are there. KEYS: the stream, the index. ARGV: least and greatest number, 1
# for the newest first, how many.
PAGE = (
    _STORED
    + _SEEK
    + """
local stream, index = KEYS[1], KEYS[2]
local least, greatest, newest, count = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
local found, sequences = {}, {}
if least > greatest then return {0, 0, '[]'} end
if not index then
    local from, to = ARGV[1] .. '-0', ARGV[2] .. '-0'
    local entries = newest and redis.call('XREVRANGE', stream, to, from, 'COUNT', count)
        or redis.call('XRANGE', stream, from, to, 'COUNT', count)
    for at, entry in ipairs(entries) do
        sequences[at] = string.match(entry[1], '^%d+')
        found[at] = as_json(sequences[at], entry[2][2])
    end
else
    local first, last = seek(index, least), seek(index, greatest + 1) - 1
    if newest then first = math.max(first, last - count + 1) else last = math.min(last, first + count - 1) end
    if last >= first then sequences = redis.call('LRANGE', index, first, last) end
    for at = 1, newest and math.floor(#sequences / 2) or 0 do
        local other = #sequences + 1 - at
        sequences[at], sequences[other] = sequences[other], sequences[at]
    end
    for _, sequence in ipairs(sequences) do table.insert(found, stored(stream, sequence)) end
end
return {#sequences, sequences[#sequences] or 0, '[' .. table.concat(found, ',') .. ']'}
"""
)

# For each id [the intent or the fact, the outcome], null for what is not there. KEYS: the stream. ARGV: the prefix, ids.
FIND = (
    _IDS
    + _STORED
    + """
local found = {}
for at = 2, #ARGV do
    local place = redis.call('HGET', ids_of(ARGV[1], ARGV[at]), ARGV[at]) or ''
    local first, second = string.match(place, '^(%d+):?(%d*)')
    local begun = first and stored(KEYS[1], first)
    local ended = first and second ~= '' and stored(KEYS[1], second)
    table.insert(found, '[' .. (begun or 'null') .. ',' .. (ended or 'null') .. ']')
end
return '[' .. table.concat(found, ',') .. ']'
"""
)

# The open intents: of the records with these indexes, or of all where there are none in ARGV. KEYS: the
# stream, the open intents.
OPEN = (
    _STORED
    + """
local wanted, found = {}, {}
for _, name in ipairs(ARGV) do wanted[name] = true end
for _, state in ipairs(redis.call('HVALS', KEYS[2])) do
    local intent = cmsgpack.unpack(state)
    if #ARGV == 0 or wanted[intent[2][1]] then
        table.insert(found, stored(KEYS[1], intent[1]))
    end
end
return '[' .. table.concat(found, ',') .. ']'
"""
)

# The least and the greatest sequence number that an entry of these seconds can have: entries come late, but the table
# says how late. KEYS: `reached`, `left`. ARGV: the first and the last second.
BOUNDS = (
    _SEEK
    + """
local function sequence_at(list, position)
    local found = position >= 0 and redis.call('LINDEX', list, position)
    return found and string.match(found, ':(%d+)$')
end
local least = sequence_at(KEYS[1], seek(KEYS[1], tonumber(ARGV[1])))
local greatest = sequence_at(KEYS[2], seek(KEYS[2], tonumber(ARGV[2]) + 1) - 1)
return {least or '1', least and greatest or '0'}
"""
)
