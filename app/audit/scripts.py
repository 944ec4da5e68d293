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

# Entries leave a script as they lie there: their number, then their body, one after the other. What does not have the one
# field of an entry leaves it with all that it has. What has no number of ours is left out: `XADD` takes `7-1` after `7-0`.
_STORED = """
local function tell(answer, sequence, fields)
    table.insert(answer, sequence)
    table.insert(answer, #fields == 2 and fields[1] == 'entry' and fields[2] or fields)
end

local function tell_stored(answer, stream, sequence)
    local found = redis.call('XRANGE', stream, sequence .. '-0', sequence .. '-0')[1]
    if found then tell(answer, sequence, found[2]) end
    return found
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
# indexed as its intent is. KEYS: the stream, the counter, the open intents, `reached`, `left`. ARGV: the prefix; the moment
# in microseconds after which nobody waits for an answer, or 0; entries as MessagePack (which knows no bytes here), each
# [kind, second, body, indexes, indexes that its outcome shares]; their ids.
#
# An intent that came to be after its sender has given up would be open for a write that was never tried, and be taken for
# the write of whoever came next.
#
# A script that fails in the middle leaves half of its writes: a stream ahead of its counter takes no entry any more. So
# everything is read, every list is known to be one and every write to be allowed before the first write.
APPEND = (
    _IDS
    + """
local stream, counter, open, reached, left = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, latest_answer, entries = ARGV[1], tonumber(ARGV[2]), cmsgpack.unpack(ARGV[3])
local clock = redis.call('TIME')
if latest_answer > 0 and clock[1] * 1000000 + clock[2] > latest_answer then
    return redis.error_reply('LATE nobody waits for the answer any more')
end
local before = tonumber(redis.call('GET', counter) or 0)
local latest = tonumber(string.match(redis.call('LINDEX', reached, -1) or '-1', '^-?%d+'))
local sequence, places, states, indexed, seconds, writes = before, {}, {}, {}, {}, {}

local function write(...)
    table.insert(writes, {...})
end

local function index(names)
    for _, name in ipairs(names) do
        if not indexed[name] then
            redis.call('LLEN', prefix .. name)
            indexed[name] = {}
        end
        table.insert(indexed[name], sequence)
    end
end

for at, entry in ipairs(entries) do
    local id, kind, second, body, own, shared = ARGV[at + 3], unpack(entry)
    local ids = ids_of(prefix, id)
    -- What entries before this one have made of the id, else what the store knows of it.
    local place, state = places[id] or redis.call('HGET', ids, id), nil
    if kind == 'outcome' then
        state = states[id]
        if state == nil then state = redis.call('HGET', open, id) end
    end
    if state or (kind ~= 'outcome' and not place) then
        sequence = sequence + 1
        write('XADD', stream, sequence .. '-0', 'entry', body)
        if state then
            shared, place = cmsgpack.unpack(state)[2], place .. ':' .. sequence
            states[id] = false
            write('HDEL', open, id)
        else
            place = sequence
        end
        places[id] = place
        write('HSET', ids, id, place)
        if kind == 'intent' then
            states[id] = cmsgpack.pack({sequence, shared})
            write('HSET', open, id, states[id])
        end
        index(own)
        index(shared)
        if second > latest then
            latest = second
            write('RPUSH', reached, second .. ':' .. sequence)
        end
        while #seconds > 0 and seconds[#seconds][1] >= second do table.remove(seconds) end
        table.insert(seconds, {second, sequence})
    end
end
if sequence == before then return 0 end

write('INCRBY', counter, sequence - before)
for name, sequences in pairs(indexed) do
    for at = 1, #sequences, 1000 do
        write('RPUSH', prefix .. name, unpack(sequences, at, math.min(at + 999, #sequences)))
    end
end
local behind = 0
while true do
    local last = redis.call('LINDEX', left, -1 - behind)
    if not last or tonumber(string.match(last, '^%d+')) < seconds[1][1] then break end
    behind = behind + 1
end
if behind > 0 then write('RPOP', left, behind) end
for _, each in ipairs(seconds) do
    write('RPUSH', left, each[1] .. ':' .. each[2])
end
for _, each in ipairs(writes) do
    if not redis.acl_check_cmd(unpack(each)) then
        return redis.error_reply('NOPERM this user may not ' .. each[1] .. ' ' .. each[2])
    end
end
for _, each in ipairs(writes) do redis.call(unpack(each)) end
return sequence - before
"""
)

# The entries with these sequence numbers in an index, or in the stream where none is named: how many were looked at, the
# number of the last one, those that are there, and up to which number they lie in archives: those are passed over.
# KEYS: the stream, `archived`, the index. ARGV: least and greatest number, 1 for the newest first, how many.
PAGE = (
    _STORED
    + _SEEK
    + """
local stream, index, archived = KEYS[1], KEYS[3], tonumber(redis.call('GET', KEYS[2]) or 0)
local least, greatest, newest, count = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
local found, sequences = {}, {}
least = math.max(least, archived + 1)
if least > greatest then return {0, 0, found, archived} end
if not index then
    local from, to = string.format('%d-0', least), ARGV[2] .. '-0'
    local entries = newest and redis.call('XREVRANGE', stream, to, from, 'COUNT', count)
        or redis.call('XRANGE', stream, from, to, 'COUNT', count)
    for at, entry in ipairs(entries) do
        local sequence, minor = string.match(entry[1], '^(%d+)-(%d+)$')
        if minor == '0' then tell(found, sequence, entry[2]) end
        -- From the newest on `7-0` comes after `7-1`: where a page ends between them the next one begins with it.
        sequences[at] = newest and minor ~= '0' and string.format('%d', sequence + 1) or sequence
    end
else
    local first, last = seek(index, least), seek(index, greatest + 1) - 1
    if newest then first = math.max(first, last - count + 1) else last = math.min(last, first + count - 1) end
    if last >= first then sequences = redis.call('LRANGE', index, first, last) end
    for at = 1, newest and math.floor(#sequences / 2) or 0 do
        local other = #sequences + 1 - at
        sequences[at], sequences[other] = sequences[other], sequences[at]
    end
    for _, sequence in ipairs(sequences) do tell_stored(found, stream, sequence) end
end
return {#sequences, sequences[#sequences] or 0, found, archived}
"""
)

# For each id the intent or the fact, then the outcome; twice nothing for what is not there. KEYS: the stream. ARGV: the
# prefix, ids.
FIND = (
    _IDS
    + _STORED
    + """
local found = {}
local function tell_or_not(sequence)
    if not sequence or sequence == '' or not tell_stored(found, KEYS[1], sequence) then
        table.insert(found, false)
        table.insert(found, false)
    end
end
for at = 2, #ARGV do
    local place = redis.call('HGET', ids_of(ARGV[1], ARGV[at]), ARGV[at]) or ''
    local first, second = string.match(place, '^(%d+):?(%d*)')
    tell_or_not(first)
    tell_or_not(second)
end
return found
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
        tell_stored(found, KEYS[1], string.format('%d', intent[1]))
    end
end
return found
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
return {least or '0', greatest or '0', redis.call('GET', KEYS[3]) or '0'}
"""
)
