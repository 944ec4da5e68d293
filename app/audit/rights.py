"""Who may do what in the audit store: the access rights of its two users, as a Redis or Valkey ACL says them.

The service's user may append and read. What cuts, overwrites or hides is the retention user's, or nobody's. A script may
do no more than its user. An ACL cannot forbid XADD its MAXLEN: that shows in the count of entries.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

SERVICE = "core"
RETENTION = "retention"

# What a client does before it can ask for anything, and what tells of the server's state.
_CONNECTION = (
    "+ping +info +time +select +client|setinfo +client|setname +acl|whoami +evalsha +script|load +multi +exec"
)
_READS = "+xrange +xrevrange +xlen +xinfo|stream +get +mget +hget +hmget +hvals +hlen +lindex +llen +lrange +exists"
_APPENDS = "+xadd +hset +rpush"


def rules(user: str, keys: str) -> str:
    """The rights of a user on the keys below a pattern such as `astrocore:audit:`."""
    shared = f"resetchannels ~{keys}* -@all {_CONNECTION} {_READS} {_APPENDS}"
    if user == SERVICE:
        # An intent that has ended is no longer open; later entries of a second take the place of earlier ones; the
        # counter grows. Nothing else is ever taken away or changed.
        return f"{shared} (~{keys}open +hdel) (~{keys}left +rpop) (~{keys}sequence +incrby)"
    # CONFIG GET lets `astrocore doctor` see whether entries are durable.
    return f"{shared} +hdel +incrby +set +lpop +rpop +ltrim +xtrim +xdel +del +unlink +config|get"


def acl_file(passwords: Mapping[str, str], keys: str) -> str:
    """The users as an ACL file; the passwords are hashed. Nobody gets in without one of them."""
    lines = [
        f"user {user} on #{_hashed(password)} {rules(user, keys)}" for user, password in passwords.items()
    ]
    return "\n".join(["user default off", *lines, ""])


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


# Calls that it must be let through with; they do nothing where no key is named so.
NEEDED: tuple[tuple[str, ...], ...] = (
    ("XADD", "{key}", "NOMKSTREAM", "*", "field", "value"),
    ("XRANGE", "{key}", "-", "+"),
    ("HVALS", "{key}"),
    ("LRANGE", "{key}", "0", "-1"),
)
# Calls that the service's user must not be let through with. Each does nothing, or fails, where it is: no key is named
# so, no subcommand or option is.
FORBIDDEN: tuple[tuple[str, ...], ...] = (
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
