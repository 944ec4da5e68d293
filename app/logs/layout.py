"""How the log store lies in Redis, and the scripts that change and read it.

All keys begin with ``<namespace>:logs``:

``:entries``          stream; the ids ``<number>-0`` are gapless in the order of arrival, the field ``entry`` is a LogEntry
                      as JSON
``:number``           the last number that was given
``:by:<name>:<of>``   stream, an index: the same ids. Of level and client there is one stream per value, level WARNING
                      holding what is WARNING or above; of component, event, actor, request, trace and record one per
                      bucket of values, each id with a tag of its value: there may be any number of values, and a key
                      costs 4 KB however little it holds
``:indexes``          set of the keys of all indexes
``:minutes:<day>``    hash: minute of that day -> first and last number of what happened then
``:days``             hash: day -> first and last number of what happened then
``:hours``            hash: hour -> last number that arrived then
``:process:<name>``   the last sequence that came from a process; forgotten long after its last entry
``:counters``         hash: trimmed, trimmed_until, lost
"""

import hashlib

from config.log_entries import LEVELS

# Below it an index would hold nearly everything.
_LEVELS_INDEXED = LEVELS[2:]
_BUCKETS = 1024

# Appends entries, all or none. KEYS: the prefix. ARGV: LogEntries as JSON, one a line, in one piece, so that whoever
# ships them has hardly anything to do; answers how many were new.
# A line of a process whose sequence is not above the last one of that process is there already. A sequence of 0 is no
# process's. What cannot be read is passed over: its sequence is missing then, and counted as lost.
APPEND = f"""
local prefix, known, fresh, lost = KEYS[1], {{}}, {{}}, 0
local function readable(entry)
    if type(entry) ~= 'table' or type(entry.sequence) ~= 'number' then return false end
    for _, name in ipairs({{'process', 'time', 'level', 'component', 'event'}}) do
        if type(entry[name]) ~= 'string' then return false end
    end
    for _, name in ipairs({{'client', 'actor', 'request_id', 'trace_id', 'entity', 'key'}}) do
        if entry[name] ~= nil and type(entry[name]) ~= 'string' then return false end
    end
    return true
end
for line in string.gmatch(ARGV[1], '[^\\n]+') do
    local parsed, entry = pcall(cjson.decode, line)
    if parsed and readable(entry) then
        local process, sequence = entry.process, entry.sequence
        if sequence > 0 and not known[process] then
            known[process] = tonumber(redis.call('GET', prefix .. ':process:' .. process) or 0)
        end
        if sequence == 0 or sequence > known[process] then
            fresh[#fresh + 1] = {{entry, line}}
            if sequence > 0 then
                lost = lost + sequence - known[process] - 1
                known[process] = sequence
            end
        end
    end
end

local number = tonumber(redis.call('GET', prefix .. ':number') or 0)
local touched, minutes, days = {{}}, {{}}, {{}}
local function index(name, value, id, tag)
    local key = prefix .. ':by:' .. name .. ':' .. value
    redis.call('XADD', key, id, '', tag)
    touched[key] = true
end
local function index_bucket(name, value, id)
    local digest = redis.sha1hex(value)
    index(name, tonumber(string.sub(digest, 1, 4), 16) % {_BUCKETS}, id, string.sub(digest, 5, 10))
end
local function span(spans, at)
    if spans[at] then spans[at][2] = number else spans[at] = {{number, number}} end
end
local levels = {{{", ".join(f"{level}={at}" for at, level in enumerate(_LEVELS_INDEXED, 1))}}}
local names = {{{", ".join(f"'{level}'" for level in _LEVELS_INDEXED)}}}
for _, each in ipairs(fresh) do
    local entry = each[1]
    number = number + 1
    local id = string.format('%.0f-0', number)
    redis.call('XADD', prefix .. ':entries', id, 'entry', each[2])
    for level = 1, levels[entry.level] or 0 do index('level', names[level], id, '') end
    if entry.client then index('client', entry.client, id, '') end
    index_bucket('component', entry.component, id)
    index_bucket('event', entry.event, id)
    if entry.actor then index_bucket('actor', entry.actor, id) end
    if entry.request_id then index_bucket('request', entry.request_id, id) end
    if entry.trace_id then index_bucket('trace', entry.trace_id, id) end
    if entry.entity and entry.key then index_bucket('record', entry.entity .. ':' .. entry.key, id) end
    span(minutes, string.sub(entry.time, 1, 16))
    span(days, string.sub(entry.time, 1, 10))
end

local function widen(key, field, span)
    local first = string.match(redis.call('HGET', key, field) or '', '^%d+')
    redis.call('HSET', key, field, (first or string.format('%.0f', span[1])) .. ' ' .. string.format('%.0f', span[2]))
end
for minute, span in pairs(minutes) do
    widen(prefix .. ':minutes:' .. string.sub(minute, 1, 10), string.sub(minute, 12), span)
end
for day, span in pairs(days) do widen(prefix .. ':days', day, span) end
for key in pairs(touched) do redis.call('SADD', prefix .. ':indexes', key) end
if #fresh > 0 then
    redis.call('SET', prefix .. ':number', string.format('%.0f', number))
    local hour = math.floor(tonumber(redis.call('TIME')[1]) / 3600)
    redis.call('HSET', prefix .. ':hours', hour, string.format('%.0f', number))
end
if lost > 0 then redis.call('HINCRBY', prefix .. ':counters', 'lost', string.format('%.0f', lost)) end
for process, sequence in pairs(known) do
    redis.call('SET', prefix .. ':process:' .. process, string.format('%.0f', sequence), 'EX', {90 * 86_400})
end
return #fresh
"""

# Reads along an index. KEYS: the index (or the entries), the entries. ARGV: XRANGE or XREVRANGE, from, to, how many, the
# tag ('' for any). Answers how many places of the index were looked at, the last one's id, the first id that is kept, then
# id and entry of each that is still kept.
READ = """
local found = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local answer = {#found, #found > 0 and found[#found][1] or '', oldest and oldest[1] or ''}
for _, each in ipairs(found) do
    local entry = each
    if KEYS[1] ~= KEYS[2] then
        entry = (ARGV[5] == '' or each[2][2] == ARGV[5]) and redis.call('XRANGE', KEYS[2], each[1], each[1])[1]
    end
    if entry then
        answer[#answer + 1] = each[1]
        answer[#answer + 1] = entry[2][2]
    end
end
return answer
"""

# Trims the entries up to a number. KEYS: the prefix. ARGV: the number; answers how many they were.
TRIM = """
local prefix, last = KEYS[1], ARGV[1]
local newest = redis.call('XREVRANGE', prefix .. ':entries', last .. '-0', '-', 'COUNT', 1)[1]
if not newest then return 0 end
local trimmed = redis.call('XTRIM', prefix .. ':entries', 'MINID', '=', string.format('%.0f-0', last + 1))
redis.call('HINCRBY', prefix .. ':counters', 'trimmed', trimmed)
local parsed, entry = pcall(cjson.decode, newest[2][2])
if parsed and type(entry) == 'table' and type(entry.time) == 'string' then
    redis.call('HSET', prefix .. ':counters', 'trimmed_until', entry.time)
end
return trimmed
"""

# Takes what is no longer kept out of indexes. KEYS: the set of indexes. ARGV: the first number that is kept, then indexes.
TRIM_INDEXES = """
for at = 2, #ARGV do
    redis.call('XTRIM', ARGV[at], 'MINID', '=', ARGV[1] .. '-0')
    if redis.call('XLEN', ARGV[at]) == 0 then
        redis.call('DEL', ARGV[at])
        redis.call('SREM', KEYS[1], ARGV[at])
    end
end
"""

# Takes days and hours out of which nothing is kept any more. KEYS: the prefix. ARGV: the first number that is kept.
TRIM_TIMES = """
local prefix, first = KEYS[1], tonumber(ARGV[1])
local function forget(key, last, also)
    local all = redis.call('HGETALL', key)
    for at = 1, #all, 2 do
        if tonumber(string.match(all[at + 1], last)) < first then
            redis.call('HDEL', key, all[at])
            if also then redis.call('DEL', also .. all[at]) end
        end
    end
end
forget(prefix .. ':days', '%d+$', prefix .. ':minutes:')
forget(prefix .. ':hours', '%d+$')
"""

# The memory of entries and indexes, in bytes. KEYS: the prefix.
MEMORY = """
-- Every node is counted: of entries with stacks and without, the first few say little about the others.
local bytes = redis.call('MEMORY', 'USAGE', KEYS[1] .. ':entries', 'SAMPLES', 0) or 0
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':indexes')) do
    bytes = bytes + (redis.call('MEMORY', 'USAGE', key) or 0)
end
return bytes
"""


def prefix_of(namespace: str) -> str:
    return f"{namespace}:logs"


def value_index(name: str, value: str) -> tuple[str, str]:
    """The index of one value, and no tag: it holds nothing else."""
    return f":by:{name}:{value}", ""


def bucket_index(name: str, value: str) -> tuple[str, str]:
    """The index that holds a value among others, and the tag that tells it."""
    digest = hashlib.sha1(value.encode(), usedforsecurity=False).hexdigest()
    return f":by:{name}:{int(digest[:4], 16) % _BUCKETS}", digest[4:10]


def level_index(level: str) -> tuple[str, str] | None:
    """The index of a level and all above; None where that is nearly everything."""
    return value_index("level", level) if level in _LEVELS_INDEXED else None
