"""Who may do what in the audit store: the access rights of its two users, as a Redis or Valkey ACL says them.

The service's user may append and read. What cuts, overwrites or hides is the retention user's, or nobody's. A script may
do no more than its user. An ACL cannot forbid XADD its MAXLEN: that shows in the count of entries.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

SERVICE = "core"
RETENTION = "retention"

# What a client does before it can ask for anything, and what tells of the server's state.
_CONNECTION = (
    "+ping +info +time +select +client|setinfo +client|setname +acl|whoami +evalsha +script|load +multi +exec"
)
_READS = "+xrange +xrevrange +xlen +xinfo|stream +get +mget +hget +hmget +hvals +hlen +lindex +llen +lrange +exists"
_APPENDS = "+hset +rpush"


def rules(user: str, keys: str) -> str:
    """The rights of a user on the keys below a pattern such as `astrocore:audit:`."""
    shared = f"resetchannels ~{keys}* -@all {_CONNECTION} {_READS} {_APPENDS}"
    if user == SERVICE:
        # An intent that has ended is no longer open; later entries of a second take the place of earlier ones; the
        # counter grows. Nothing else is ever taken away or changed. Tombstones are not its own to add: a stream takes
        # none before the greatest id that it has had.
        added = f"(~{keys}entries +xadd) (~{keys}seals +xadd)"
        return f"{shared} {added} (~{keys}open +hdel) (~{keys}left +rpop) (~{keys}sequence +incrby)"
    # RENAME puts a stream without what was slipped in past the counter in its place (docs/audit.md): a stream that has
    # lost its last entry to XDEL takes none before it. CONFIG GET lets `astrocore doctor` see whether entries are durable.
    return (
        f"{shared} +xadd +hdel +incrby +set +lpop +rpop +ltrim +xtrim +xdel +del +unlink +rename +config|get"
    )


def acl_file(passwords: Mapping[str, str], keys: str) -> str:
    """The users as an ACL file; the passwords are hashed. Nobody gets in without one of them."""
    lines = [
        f"user {user} on #{_hashed(password)} {rules(user, keys)}" for user, password in passwords.items()
    ]
    return "\n".join(["user default off", *lines, ""])


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


# Every command that the service needs, on a key that it needs it for.
NEEDED: tuple[tuple[str, ...], ...] = (
    ("SCRIPT", "LOAD", "return 1"),
    ("MULTI",),
    ("EXEC",),
    ("TIME",),
    ("XADD", "{prefix}entries", "*", "field", "value"),
    ("XADD", "{prefix}seals", "*", "field", "value"),
    ("HSET", "{prefix}ids:0000", "field", "value"),
    ("HSET", "{prefix}open", "field", "value"),
    ("HDEL", "{prefix}open", "field"),
    ("INCRBY", "{prefix}sequence", "1"),
    ("RPUSH", "{prefix}by:kind:fact", "1"),
    ("RPUSH", "{prefix}reached", "1"),
    ("RPUSH", "{prefix}left", "1"),
    ("RPOP", "{prefix}left", "1"),
    ("GET", "{prefix}sequence"),
    ("MGET", "{prefix}sequence", "{prefix}archived"),
    ("HGET", "{prefix}ids:0000", "field"),
    ("HVALS", "{prefix}open"),
    ("LINDEX", "{prefix}left", "0"),
    ("LLEN", "{prefix}by:kind:fact"),
    ("LRANGE", "{prefix}by:kind:fact", "0", "-1"),
    ("XRANGE", "{prefix}entries", "-", "+"),
    ("XREVRANGE", "{prefix}entries", "+", "-"),
    ("XLEN", "{prefix}entries"),
)
_LACKING = """
local lacking = {}
for _, call in ipairs(cjson.decode(ARGV[1])) do
    local known, allowed = pcall(redis.acl_check_cmd, unpack(call))
    if not known or not allowed then table.insert(lacking, call[1]) end
end
return lacking
"""
# Calls that the service's user must not be let through with. Each does nothing, or fails, where it is: no key is named
# so, no subcommand or option is.
FORBIDDEN: tuple[tuple[str, ...], ...] = (
    ("XADD", "{key}:none", "NOMKSTREAM", "*", "field", "value"),
    ("XDEL", "{key}", "1-0"),
    ("XTRIM", "{key}", "MAXLEN", "0"),
    ("XSETID", "{key}", "1-0"),
    ("DEL", "{key}"),
    ("UNLINK", "{key}"),
    ("SET", "{key}", "", "XX"),
    ("LTRIM", "{key}", "0", "-1"),
    ("LPOP", "{key}"),
    ("LSET", "{key}", "0", ""),
    ("HDEL", "{key}", "field"),
    ("EXPIRE", "{key}", "1"),
    ("RENAME", "{key}", "{key}2"),
    ("COPY", "{key}", "{key}2"),
    ("RESTORE", "{key}", "0", "none"),
    ("FLUSHALL", "none"),
    ("FLUSHDB", "none"),
    ("SWAPDB", "none", "none"),
    ("CONFIG", "GET", "none"),
    ("EVAL", "return 1", "0"),
    ("SCRIPT", "FLUSH", "none"),
    ("FUNCTION", "LIST"),
    ("ACL", "LIST"),
    ("REPLICAOF", "none", "none"),
)


async def lacking(redis: Redis, calls: Iterable[Sequence[str]], prefix: str) -> list[str]:
    """The commands of those calls that the user of this connection may not make; none is made.

    Its keys begin with `prefix`.
    """
    asked = [[word.format(prefix=prefix) for word in call] for call in calls]
    try:
        found: list[str] = await redis.register_script(_LACKING)(args=[msgspec.json.encode(asked)])
    except NoPermissionError:
        return ["EVALSHA"]
    return list(dict.fromkeys(found))


async def let_through(redis: Redis, calls: Iterable[Sequence[str]], key: str) -> list[str]:
    """The commands of those calls that the user of this connection may make; `key` is one that does not exist."""
    found = []
    for call in calls:
        try:
            await redis.execute_command(*(word.format(key=key) for word in call))  # type: ignore[no-untyped-call]
        except NoPermissionError:
            continue
        except ResponseError:  # it may, if it said it better
            pass
        found.append(call[0])
    return found
