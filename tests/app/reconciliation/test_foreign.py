"""Another team declares its own tables and collections in a module of its own, and they are reconciled."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.reconciliation.deciding import decisions, history
from app.reconciliation.ledger import diffs, runs, suspects
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution
from app.stores.connections import Stores
from tests.app.reconciliation.deciding.undo_steps import refusals, undo_changes
from tests.app.reconciliation.museum import MODULE, SEEN, put, show, ticket
from tests.app.reconciliation.running.run_steps import compared

FAR = 2**40  # no column of 32 bits holds it


@pytest.fixture
def sides(museum: None, repairing: Stores) -> Stores:
    """The stores with the museum's tables, every job allowed to repair."""
    return repairing


async def reconcile(stores: Stores, entity: str) -> Any:
    """One full run, and repairs until nothing is due."""
    run = await compared(stores, entity)
    for _ in range(3):
        await repairer_of(stores).run_due()
        await stores.core.execute("UPDATE suspects SET due_at = now()")
    return await runs.get_run(stores, run.id)


async def shown(stores: Stores, entity: str) -> dict[str, tuple[str, str | None]]:
    page = await diffs.list_diffs(stores, entity=entity, limit=200)
    return {each.key: (each.status, each.reason) for each in page.items}


async def test_a_foreign_schema_is_reconciled(sides: Stores) -> None:
    agreed, _ = show(1, freePlaces=44), None
    await put(sides, "shows", *agreed)
    await put(sides, "shows", *show(2, title="Old", language=9, hall={"code": "n"}))
    await put(sides, "shows", row=show(3)[1])
    await put(sides, "shows", document=show(4)[0])
    await put(sides, "shows", *show(5, row_is_closed=True))
    await put(sides, "shows", *show(6, archive={"since": SEEN, "by": "x"}, title="Archived"))
    await put(sides, "shows", *show(7, archive={"since": SEEN}, title="Other", row_is_closed=True))
    await put(sides, "shows", document=show(FAR)[0])
    await put(sides, "shows", document=show(0, _id=8.0)[0], row=show(8, row_title="Show 0")[1])
    await put(sides, "tickets", *ticket("A-1"))
    await put(sides, "tickets", *ticket("A-2", fee={"cents": 999}, startsAt=5, persons=4))
    await put(sides, "tickets", document=ticket("it's é\U0001f680")[0] | {"deleted": True})
    await put(sides, "tickets", document=ticket("é'\U0001f680", status="returned")[0])
    await put(sides, "tickets", row=ticket("A-4")[1])
    await put(sides, "tickets", *ticket("A-5", status="used", row_status="Z"))
    await put(sides, "tickets", *ticket("A-6", row_deleted_at=SEEN, status="returned"))
    await put(sides, "tickets", *ticket("A-7", status="returned", row_status="U"))
    await put(sides, "tickets", document=ticket("A\0B", persons=3, show={"number": 9})[0])
    await put(sides, "tickets", *ticket("A-8", status="used", row_status="B", persons=5, row_persons=5, show={"number": 2}, row_show_number=2))  # fmt: skip

    tickets = await reconcile(sides, "tickets")
    assert tickets.status == "done", tickets
    assert tickets.warnings == []
    rows = {row["code"]: dict(row) for row in await sides.admin.fetch("SELECT * FROM museum.tickets")}
    assert rows["A-2"] == ticket("A-2", row_fee=Decimal("9.99"), row_persons=4, row_starts_at=datetime(1970, 1, 1, 0, 0, 0, 5000, tzinfo=UTC))[1]  # fmt: skip
    assert rows["é'\U0001f680"] == ticket("é'\U0001f680", row_status="R")[1]
    assert rows["A-6"] == ticket("A-6", row_status="R")[1], "what only one side had marked was revived"
    assert rows["A-8"]["status"] == "U"
    assert "it's é\U0001f680" not in rows
    assert {key: reason for key, (status, reason) in (await shown(sides, "tickets")).items() if status == "in_review"} == {
        "A-4": "gone from the document side, which is right about tickets",
        "A-5": "no rule decides status",
        "A-7": "no rule decides status",
        "str 'A\\x00B'": "its key is not of the declared kind",
    }  # fmt: skip

    shows = await reconcile(sides, "shows")
    assert shows.status == "done", shows
    documents = {each["_id"]: each async for each in sides.customer["shows"].find()}
    mended = {number: show(number)[0] for number in (2, 3, 6)}
    del mended[3]["poster"]
    assert documents[2] == mended[2] | {"freePlaces": 45}
    assert documents[3] == mended[3] | {"archive": {"since": None}}
    assert documents[6] == mended[6] | {"archive": {"since": None, "by": "x"}}
    assert documents[7]["title"] == "Other", "marked on both sides: nobody looks at the rest"
    for removed in (4, 5, FAR):
        assert documents[removed]["archive"]["since"] > SEEN, "removed means marked here"
    assert documents[8.0]["title"] == "Show 0"
    assert documents[1]["freePlaces"] == 50 - 2 - 4 - 2  # those of

    assert (await reconcile(sides, "shows")).findings == 0
    assert (await reconcile(sides, "tickets")).findings == 4, "only what waits for an operator"


async def test_an_incremental_run_follows_the_foreign_updated_at(sides: Stores) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    await put(sides, "shows", *show(1))
    await put(sides, "shows", *show(2, row_changed_at=soon.replace(tzinfo=None)))
    await put(sides, "shows", *show(3, changedAt=soon))
    await put(sides, "tickets", document=ticket("A-1", changedAt=soon, show={"number": 4})[0])
    run = await runs.start_run(sides, "shows", mode="incremental", by="test")
    await execution.begin(sides, run.id)
    keys = {row["key"] for row in await sides.core.fetch("SELECT key FROM suspects WHERE entity = 'shows'")}
    assert keys == {"2", "3", "4"}
    await sides.core.execute("DELETE FROM suspects")
    await runs.settle(sides, {run.id})
    await sides.admin.execute("UPDATE museum.halls SET changed_at = now()")
    run = await runs.start_run(sides, "shows", mode="incremental", by="test")
    await execution.begin(sides, run.id)
    keys = {row["key"] for row in await sides.core.fetch("SELECT key FROM suspects WHERE entity = 'shows'")}
    assert keys >= {"1", "2", "3"}, "they hang in a hall that was renamed"


async def test_a_text_that_no_row_can_have_is_refused_by_name(sides: Stores) -> None:
    await put(sides, "shows", *show(1))
    await put(sides, "tickets", *ticket("A-1", visitor={"name": "A\0da"}))
    await put(sides, "tickets", *ticket("A-2", persons=3))
    await reconcile(sides, "tickets")
    found = await shown(sides, "tickets")
    assert found["A-1"][0] == "in_review"
    assert "the relational side cannot hold a value" in (found["A-1"][1] or "")
    assert found["A-2"][0] == "repaired"


async def test_a_key_that_no_row_can_have_does_not_hold_up_the_others(sides: Stores) -> None:
    await put(sides, "shows", *show(1, title="Old"))
    await put(sides, "shows", document=show(FAR)[0])
    await suspects.nominate(sides.core, "shows", ["1", str(FAR), str(-FAR)], cause="test")
    await repairer_of(sides).run_due()
    assert (await sides.customer["shows"].find_one({"_id": 1}))["title"] == "Show 1"
    assert {key: status for key, (status, _) in (await shown(sides, "shows")).items()} == {
        "1": "repaired",
        str(FAR): "repaired",
        str(-FAR): "vanished",
    }


def test_the_setting_loads_the_module_into_every_process() -> None:
    program = (
        "import json; from config.settings import settings; from app.reconciliation.mapping import *\n"
        "load_mappings(settings().mappings); print(json.dumps(list(mappings())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ASTROCORE_MAPPINGS": MODULE},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[-2:] == ["shows", "tickets"]


def test_the_example_of_the_documentation_is_the_one_that_runs() -> None:
    root = Path(__file__).parents[3]
    example = (root / "docs/mappings.md").read_text().split("```python\n")[1].split("```")[0]
    module = (root / "tests/app/reconciliation/foreign.py").read_text()
    for part in example.strip().split("\n\n"):
        assert part in module


@pytest.mark.parametrize("touched", [False, True])
async def test_a_marked_record_is_revived_by_an_undo_unless_somebody_wrote_to_it(
    sides: Stores, touched: bool
) -> None:
    await put(sides, "shows", *show(1))
    await put(sides, "shows", document=show(4)[0])
    await put(sides, "tickets", row=ticket("A-4")[1])
    await reconcile(sides, "shows")
    await reconcile(sides, "tickets")
    (review,) = (await diffs.list_diffs(sides, entity="tickets", status="in_review")).items
    await decisions.approve(sides, [review.id], side="document", by="test", reason="gone")
    await repairer_of(sides).run_due()
    read_document, read_row = (
        sides.customer["shows"].find_one,
        "SELECT * FROM museum.tickets WHERE code = 'A-4'",
    )
    assert (await read_document({"_id": 4}))["archive"]["since"]
    assert (await sides.admin.fetchrow(read_row))["deleted_at"]
    if touched:
        edit = {"title": "Edited", "changedAt": SEEN + timedelta(days=1)}
        await sides.customer["shows"].update_one({"_id": 4}, {"$set": edit})
        await sides.admin.execute(
            "UPDATE museum.tickets SET visitor = 'Edited', changed_at = changed_at + interval '1 day'"
        )
    removed = [each.id for each in (await history.list_changes(sides)).items if each.action == "remove"]
    assert len(removed) == 2

    done = await undo_changes(sides, *removed)

    document, row = await read_document({"_id": 4}), await sides.admin.fetchrow(read_row)
    if touched:
        assert await refusals(sides, done) == ["changed since: updated_at"] * 2
        assert (document["title"], row["visitor"]) == ("Edited", "Edited")
        assert document["archive"]["since"]
        assert row["deleted_at"]
    else:
        assert (done.undone, done.refused) == (2, 0)
        assert document["archive"]["since"] is None
        assert row["deleted_at"] is None
