"""What a dry run would do: each finding is read again and judged as the repair path would judge it."""

from uuid import UUID

import msgspec

from app.reconciliation.mapping import Mapping
from app.reconciliation.repairing.judging import judge
from app.reconciliation.repairing.references import find_hopeless, find_missing
from app.reconciliation.repairing.work import CoreWork
from app.reconciliation.resolve import Kind, Verdict
from app.reconciliation.sides.records import EntitySides, every_entity
from app.stores.connections import Stores

_BATCH = 200


async def propose(stores: Stores, run_id: UUID, mapping: Mapping) -> None:
    """Note with every finding of a dry run what would become of it: repair, in_review, or equal by now; then end it.

    Stops where the run is paused or cancelled, and goes on from there when it is taken up again.
    """
    await _propose_review_of_unreadable_keys(stores, run_id)
    every = every_entity(stores)
    last: str | None = None  # "" is a key that a record may have
    while True:
        rows = await stores.core.fetch(
            """
            SELECT key FROM findings WHERE run_id = $1 AND ($2::text IS NULL OR key > $2) AND proposal IS NULL
                AND EXISTS (SELECT FROM runs WHERE id = $1 AND status = 'comparing' AND paused_at IS NULL)
            ORDER BY key LIMIT $3
            """,
            run_id,
            last,
            _BATCH,
        )
        if not rows:
            break
        keys = [row["key"] for row in rows]
        judged = await judge(every, CoreWork(stores), mapping.entity, keys)
        verdicts = {key: judged[key].verdict for key in keys}
        impossible = await _impossible(every, CoreWork(stores), mapping, verdicts)
        await stores.core.executemany(
            "UPDATE findings SET proposal = $3 WHERE run_id = $1 AND key = $2 AND kind <> 'unreadable_key'",
            [(run_id, key, _proposal(verdicts[key], impossible.get(key))) for key in keys],
        )
        last = keys[-1]
    await stores.core.execute(
        """
        UPDATE runs SET status = 'done', finished_at = now()
        WHERE id = $1 AND status = 'comparing' AND paused_at IS NULL
            AND NOT EXISTS (SELECT FROM findings WHERE run_id = $1 AND proposal IS NULL)
        """,
        run_id,
    )


async def _propose_review_of_unreadable_keys(stores: Stores, run_id: UUID) -> None:
    """Nothing can address these records, so they are not read again."""
    proposal = {"verdict": "in_review", "reason": "its key is not of the declared kind", "writes": []}
    await stores.core.execute(
        "UPDATE findings SET proposal = $2 WHERE run_id = $1 AND kind = 'unreadable_key'",
        run_id,
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
