"""What the broker holds of a person: dead letters, and tracebacks of messages that are to be tried again.

Dramatiq keeps what nobody could work off for seven days; what failed waits with its traceback until its next turn.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dramatiq import Message
from redis import Redis

from actors.queues import Queue
from app.reconciliation.deciding.forgetting import Tells

# Of a traceback all but the messages of exceptions: file names and lines of code are nobody's values.
_FRAMES = re.compile(
    r'^(?:Traceback|During handling|The above exception) .*:$|^ +File ".*", line \d+.*\n(?: {4}.*\n)*',
    re.MULTILINE,
)
# A worker may be done with the message, or have tried it again, since it was looked at.
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
# How a message is stored, by the hash where it lies and its field there.
_Found = dict[tuple[str, str], bytes]


@dataclass(frozen=True)
class DeadLetters:
    """The messages of every queue that did not succeed. Each method raises what the broker's driver does.

    A text counts where it stands as whole words in the arguments or in the message of an exception, and nowhere else.
    """

    redis: Redis
    namespace: str

    async def count(self, tells: Tells) -> int:
        """How many dead letters tell of the person, and tracebacks of waiting messages."""
        return await asyncio.to_thread(lambda: len(self._dead(tells)) + len(self._waiting(tells)))

    async def clear(self, tells: Tells) -> int:
        """Remove the dead letters and the tracebacks that tell of the person; answers how many."""
        return await asyncio.to_thread(lambda: self._remove(tells) + self._strip(tells))

    def _dead(self, tells: Tells) -> _Found:
        return self._find(tells, [".XQ"], lambda message: f"{_arguments(message)}\n{_raised(message)}")

    def _waiting(self, tells: Tells) -> _Found:
        return self._find(tells, ["", ".DQ"], _raised)

    def _find(self, tells: Tells, ends: Iterable[str], held: Callable[[Message[Any]], str]) -> _Found:
        patterns = [[_pattern(texts) for texts in together] for together in tells]
        return {
            (place, field): body
            for place in (f"{self.namespace}:{queue}{end}.msgs" for queue in Queue for end in ends)
            for field, body in self.redis.hscan_iter(place)
            if _told(held(Message.decode(body)), patterns)
        }

    def _remove(self, tells: Tells) -> int:
        found = self._dead(tells)
        with self.redis.pipeline() as pipeline:
            for place, field in found:
                pipeline.zrem(place.removesuffix(".msgs"), field)
                pipeline.hdel(place, field)
            pipeline.execute()
        return len(found)

    def _strip(self, tells: Tells) -> int:
        replace = self.redis.register_script(_REPLACE)
        found = self._waiting(tells).items()
        return sum(
            replace([place], [field, body, _without_traceback(body)]) for (place, field), body in found
        )


def _arguments(message: Message[Any]) -> str:
    return "\n".join(_leaves([message.args, message.kwargs]))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield str(value)


def _raised(message: Message[Any]) -> str:
    return _FRAMES.sub("", str(message.options.get("traceback", "")))


def _without_traceback(body: bytes) -> bytes:
    message = Message.decode(body)
    del message.options["traceback"]
    return message.encode()


def _pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds one of these texts as whole words: not in a longer one, nor in a longer address or number."""
    either = "|".join(re.escape(each) for each in sorted(texts))
    return re.compile(rf"(?<![\w@])(?<!\w[.+-])(?:{either})(?![\w@])(?![.+-]\w)")


def _told(text: str, patterns: Iterable[Iterable[re.Pattern[str]]]) -> bool:
    return any(all(each.search(text) for each in together) for together in patterns)
