"""HTTP calls from a process of its own, by a client that costs little: what it takes from the machine the service lacks.

Connections are kept; each carries one call after the other, without a pause. Times are those of `time.perf_counter`,
which on Linux all processes share.
"""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.processes import in_own_process


@dataclass(frozen=True)
class Load:
    """So many calls at once for so many seconds, each with a body drawn from `bodies`.

    `keyed`: each has an `Idempotency-Key` of its own.
    """

    host: str
    port: int
    path: str
    headers: Mapping[str, str]
    bodies: Sequence[bytes]
    at_once: int
    seconds: float
    keyed: bool = False


@dataclass(frozen=True)
class Answered:
    """A call that was answered."""

    status: int
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


async def carry_out(load: Load) -> list[Answered]:
    """What became of each call, in the order of their ends. Raises OSError where a connection breaks."""
    answers: list[Answered] = await asyncio.to_thread(lambda: in_own_process(_carry_out, load).value)
    return answers


def rate(answers: Sequence[Answered], *statuses: int) -> float:
    """Answers with one of these statuses, a second: all that were begun are counted, until the last one has ended."""
    good = sum(each.status in statuses for each in answers)
    return good / (answers[-1].ended - min(each.began for each in answers))


def slowest(answers: Sequence[Answered], status: int) -> float:
    """The longest that anybody waited for such an answer, in seconds; 0 where there was none."""
    return max((each.seconds for each in answers if each.status == status), default=0.0)


def p99(seconds: Sequence[float]) -> float:
    """The time within which 99 of 100 ended, in milliseconds."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * 0.99))] * 1000


def other_than(answers: Sequence[Answered], *statuses: int) -> dict[int, int]:
    """How many answers had another status than these."""
    return {
        status: count
        for status, count in Counter(each.status for each in answers).items()
        if status not in statuses
    }


def _carry_out(load: Load) -> list[Answered]:
    return asyncio.run(_all(load))


async def _all(load: Load) -> list[Answered]:
    answers: list[Answered] = []
    until = time.perf_counter() + load.seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(load.at_once):
            group.create_task(_one_after_the_other(load, until, answers))
    return answers


async def _one_after_the_other(load: Load, until: float, answers: list[Answered]) -> None:
    reader, writer = await asyncio.open_connection(load.host, load.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
    while (began := time.perf_counter()) < until:
        body = random.choice(load.bodies)
        key = f"Idempotency-Key: {uuid.uuid4()}\r\n" if load.keyed else ""
        lines = f"POST {load.path} HTTP/1.1\r\nHost: {load.host}\r\n{head}{key}Content-Length: {len(body)}\r\n\r\n"
        writer.write(lines.encode() + body)
        answers.append(Answered(await _status(reader), began, time.perf_counter()))
    writer.close()
    await writer.wait_closed()


async def _status(reader: asyncio.StreamReader) -> int:
    """Read an answer to its end: those of the service tell their length (RFC 9112, section 6.2)."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])
