"""What a dry run would do: each finding is read again and judged as the repair path would judge it."""

from uuid import UUID

import msgspec

from app.reconciliation.judging import judge
from app.reconciliation.mapping import Mapping
from app.reconciliation.resolve import Kind, Verdict
from app.stores.connections import Stores

_BATCH = 200


async def propose(stores: Stores, run_id: UUID, mapping: Mapping) -> None:
    """Note with every finding of a run what would become of it: repair, in_review, or equal by now."""
    last = ""
    while True:
        rows = await stores.core.fetch(
            "SELECT key FROM findings WHERE run_id = $1 AND key > $2 ORDER BY key LIMIT $3",
            run_id,
            last,
            _BATCH,
        )
        if not rows:
            return
        keys = [row["key"] for row in rows]
        judged = await judge(stores, mapping, keys)
        await stores.core.executemany(
            "UPDATE findings SET proposal = $3 WHERE run_id = $1 AND key = $2",
            [(run_id, key, _proposal(judged[key].verdict)) for key in keys],
        )
        last = keys[-1]


def _proposal(verdict: Verdict) -> str:
    if verdict.kind in {Kind.EQUAL, Kind.MISSING_BOTH}:
        word = verdict.kind.value
    else:
        word = "in_review" if verdict.review else "repair"
    writes = [
        {"side": plan.side, "action": plan.action, "fields": sorted(plan.values)} for plan in verdict.plans
    ]
    return msgspec.json.encode({"verdict": word, "reason": verdict.review, "writes": writes}).decode()
