"""Seals over the audit store: entries sealed a second, and verified, beside reading and hashing them once.

Entries are appended as the service appends them and read with the rights that it has. `--records` is their number.
"""

import asyncio
import time
from collections.abc import Iterator
from hashlib import sha256

import redis

from app.audit.sealing.keys import Keyring
from app.audit.sealing.sealer import Sealer
from app.audit.sealing.stream import Stream
from app.audit.store import AuditStore
from app.audit.verification.seals import read_keys
from app.audit.verification.stores import open_evidence
from app.audit.verification.walk import verify
from app.stores.connections import Stores, open_stores
from app.stores.migrate import migrate
from benchmarks.audit_entries import Made
from benchmarks.figure import Figure, compare
from config.settings import Settings

_BATCH = 500
_ROUNDS = 3
_PAGE = 2000
_SEALING_GOAL = 0.3
_VERIFYING_GOAL = 0.5
_A_MINUTE_GOAL = 1_000_000


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """Sealing and verifying, each in turn with the limit."""
    asyncio.run(migrate(settings))
    yield from asyncio.run(_measure(settings, records or (30_000 if quick else 300_000)))


async def _measure(settings: Settings, number: int) -> list[Figure]:
    async with open_stores(settings) as stores:
        sealing = await _seal(stores, number)
    verifying = [(await _verify(settings), _limit(settings, 0)) for _ in range(_ROUNDS)]
    limit = "read and hashed once"
    a_minute = sorted(pace for pace, _ in verifying)[_ROUNDS // 2] * 60
    return [
        compare(
            "seals: entries sealed",
            "entries/s",
            sealing,
            limit_name=limit,
            goal=f"ratio >= {_SEALING_GOAL}",
            reached=lambda ratio: ratio >= _SEALING_GOAL,
        ),
        compare(
            "seals: entries verified",
            "entries/s",
            verifying,
            limit_name=limit,
            goal=f"ratio >= {_VERIFYING_GOAL}",
            reached=lambda ratio: ratio >= _VERIFYING_GOAL,
        ),
        Figure(
            "seals: entries verified a minute",
            a_minute,
            "entries",
            goal=f">= {_A_MINUTE_GOAL:,}",
            ok=a_minute >= _A_MINUTE_GOAL,
        ),
    ]


async def _seal(stores: Stores, number: int) -> list[tuple[float, float]]:
    """Entries a second and the limit, over a part of the entries at a time."""
    settings, pairs, sealed = stores.settings, [], 0
    audit, made = AuditStore(stores.audit, settings.namespace), Made(number)
    keys = Keyring.of(settings)
    assert keys is not None
    sealer = Sealer(stores.core, Stream.of(stores.audit, settings.namespace), keys)
    for part in range(1, _ROUNDS + 1):
        while made.count < number * part // _ROUNDS:
            await audit.append(made.batch(_BATCH))
        started = time.perf_counter()
        new = await sealer.seal_new()
        pairs.append((new / (time.perf_counter() - started), _limit(settings, sealed)))
        sealed += new
    return pairs


async def _verify(settings: Settings) -> float:
    async with open_evidence(settings) as evidence:
        report = await verify(evidence, read_keys(settings.public_keys))
    assert report.ok, report.findings
    return report.entries_per_second


def _limit(settings: Settings, after: int) -> float:
    """Entries a second by a bare loop over the stream that reads each once and hashes it once."""
    count, place, started = 0, f"{after}-0", time.perf_counter()
    with redis.Redis.from_url(settings.url("audit_url")) as client:
        while page := client.xrange(f"{settings.namespace}:audit:entries", f"({place}", "+", _PAGE):
            for _id, fields in page:
                sha256(fields[b"entry"]).digest()
            count, place = count + len(page), page[-1][0].decode()
    return count / (time.perf_counter() - started)
