"""What a fact tells beyond its name is of one form for each name."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.audit.details import DETAILS, check_detail
from app.audit.entries import Fact
from app.audit.outbox import record
from app.stores.connections import Stores

DOCS = Path(__file__).parents[3] / "docs" / "audit.md"


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        (Fact.RUN_THROTTLED, {"before": 5}),
        (Fact.RUN_THROTTLED, {"before": 5, "after": 6, "since": 7}),
        (Fact.RUN_THROTTLED, {"before": "five", "after": 6}),
        (Fact.RUN_PAUSED, {"because": "why not"}),
        (Fact.UNDO_ENDED, {"undone": "all"}),
        (Fact.AUDIT_READ, {"colour": "blue"}),
    ],
    ids=str,
)
async def test_a_detail_that_its_name_does_not_have_is_not_recorded(
    stores: Stores, name: Fact, detail: dict[str, Any]
) -> None:
    async with stores.core.acquire() as connection:
        with pytest.raises(msgspec.ValidationError):
            await record(connection, name, by="ann", target="it", detail=detail)
    assert await stores.core.fetchval("SELECT count(*) FROM audit_outbox") == 0


def test_no_detail_is_a_detail_of_every_name() -> None:
    for name in Fact:
        check_detail(name, None)


@pytest.mark.parametrize("name", Fact)
def test_every_fact_stands_in_the_documentation_with_the_fields_of_its_detail(name: Fact) -> None:
    kind = DETAILS.get(name)
    fields = kind.__struct_fields__ if kind and issubclass(kind, msgspec.Struct) else ()
    (row,) = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    told = row.split("|")[2]
    assert told.strip() == (", ".join(f"`{each}`" for each in fields) or told.strip())
    assert (told.strip() != "–") == (kind is not None)
