"""Dead letters: messages that nobody could work off, as Dramatiq keeps them in the broker for seven days."""

import asyncio
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from redis import Redis

from actors.queues import Queue


@dataclass(frozen=True)
class DeadLetters:
    """The dead letters of every queue. Each method raises what the broker's driver does."""

    redis: Redis
    namespace: str

    async def count(self, texts: Collection[str]) -> int:
        """How many letters hold one of these texts, in their arguments or in what went wrong."""
        return len(await asyncio.to_thread(self._holding, texts))

    async def clear(self, texts: Collection[str]) -> int:
        """Remove the letters that hold one of these texts; answers how many."""
        return await asyncio.to_thread(self._clear, texts)

    def _holding(self, texts: Collection[str]) -> list[tuple[str, str]]:
        # As they stand within a message, which is JSON in ASCII.
        wanted = [json.dumps(text)[1:-1] for text in texts]
        return [
            (queue, letter)
            for queue in self._queues()
            for letter, message in self.redis.hscan_iter(f"{queue}.msgs")
            if any(each in message.decode() for each in wanted)
        ]

    def _clear(self, texts: Collection[str]) -> int:
        found = self._holding(texts)
        with self.redis.pipeline() as pipeline:
            for queue, letter in found:
                pipeline.zrem(queue, letter)
                pipeline.hdel(f"{queue}.msgs", letter)
            pipeline.execute()
        return len(found)

    def _queues(self) -> Iterator[str]:
        return (f"{self.namespace}:{each}.XQ" for each in Queue)
