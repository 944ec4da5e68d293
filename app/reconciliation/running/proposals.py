"""What a dry run would do: each finding is read again and judged as the repair path would judge it."""

from collections.abc import Callable

import msgspec

from app.reconciliation.mapping import Mapping
from app.reconciliation.repairing.judging import judge
from app.reconciliation.repairing.references import find_hopeless, find_missing
from app.reconciliation.repairing.work import CoreWork
from app.reconciliation.resolve import Kind, Verdict
from app.reconciliation.running.partitions import Lease
from app.reconciliation.scanning.scan import ScanStoppedError
from app.reconciliation.sides.records import EntitySides, every_entity
from app.stores.connections import Stores

_BATCH = 200


async def propose(stores: Stores, lease: Lease, mapping: Mapping, *, stopped: Callable[[], bool]) -> None:
    """Note with every finding of a dry run's partition what would become of it: repair, in_review, or equal by now.

    Raises ScanStoppedError once `stopped` says so.
    """
    await _propose_review_of_unreadable_keys(stores, lease)
    every = every_entity(stores)
    while keys := await _undecided(stores, lease):
        if stopped():
            raise ScanStoppedError
        judged = await judge(every, CoreWork(stores), mapping.entity, keys)
        verdicts = {key: judged[key].verdict for key in keys}
        impossible = await _impossible(every, CoreWork(stores), mapping, verdicts)
        await stores.core.executemany(
            "UPDATE findings SET proposal = $3 WHERE run_id = $1 AND key = $2 AND kind <> 'unreadable_key'",
            [(lease.run_id, key, _proposal(verdicts[key], impossible.get(key))) for key in keys],
        )


async def _undecided(stores: Stores, lease: Lease) -> list[str]:
    rows = await stores.core.fetch(
        """
        SELECT key FROM findings WHERE run_id = $1 AND partition = $2 AND proposal IS NULL AND kind <> 'unreadable_key'
        ORDER BY key LIMIT $3
        """,
        lease.run_id,
        lease.number,
        _BATCH,
    )
    return [row["key"] for row in rows]


async def _propose_review_of_unreadable_keys(stores: Stores, lease: Lease) -> None:
    """Nothing can address these records, so they are not read again."""
    proposal = {"verdict": "in_review", "reason": "its key is not of the declared kind", "writes": []}
    await stores.core.execute(
        "UPDATE findings SET proposal = $3 WHERE run_id = $1 AND partition = $2 AND kind = 'unreadable_key'",
        lease.run_id,
        lease.number,
        msgspec.json.encode(proposal).decode(),
    )


async def _impossible(
    every: dict[str, EntitySides], work: CoreWork, mapping: Mapping, verdicts: dict[str, Verdict]
) -> dict[str, str]:
    missing = await find_missing(every, mapping, verdicts)
    hopeless = await find_hopeless(every, work, set(missing.values()))
    return {key: hopeless[need] for key, need in missing.items() if need in hopeless}


def _proposal(verdict: Verdict, impossible: str | None) -> str:
    reason = verdict.review or impossible
    if verdict.kind in {Kind.EQUAL, Kind.MISSING_BOTH}:
        word = verdict.kind.value
    else:
        word = "in_review" if reason else "repair"
    writes = [
        {"side": plan.side, "action": plan.action, "fields": sorted(plan.values)}
        for plan in verdict.plans
        if not reason
    ]
    return msgspec.json.encode({"verdict": word, "reason": reason, "writes": writes}).decode()
