"""Hold both databases against the truth file: what was to be repaired, and that nothing else was written."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl

from app.demo.cases import Expected, Side
from app.demo.errors import DemoError
from app.demo.fingerprints import KEY, fingerprints
from app.demo.load import Progress
from app.demo.shapes import DOCUMENT_ONLY, ENTITIES, Canonical, canonical_document, canonical_row
from app.stores.connections import Stores

FAULTS_SHOWN = 50
SEED_FIRST = "`astrocore seed` writes it; ASTROCORE_DATA_DIR says where"
UNTOUCHED = "untouched"  # what the truth file does not name

Key = tuple[str, str]
Lines = Mapping[Key, dict[str, Any]]
Sides = Mapping[Key, Canonical]

LAUNCH_ROWS = """
    SELECT l.*, r.id AS "rocket.id", r.name AS "rocket.name", r.model AS "rocket.model",
           s.id AS "supplier.id", s.company_name AS "supplier.company_name",
           p.name AS "spaceport.name", p.location AS "spaceport.location"
    FROM launches l JOIN rockets r ON r.id = l.rocket_id JOIN suppliers s ON s.id = l.supplier_id
    JOIN spaceports p ON p.id = l.spaceport_id WHERE l.id = ANY($1)
"""
ROW_QUERIES = {
    "customers": "SELECT * FROM customers WHERE id = ANY($1)",
    "launches": LAUNCH_ROWS,
    "bookings": "SELECT * FROM bookings WHERE id = ANY($1)",
}


@dataclass(frozen=True)
class Fault:
    """One record that is not as the truth file has it."""

    entity: str
    id: str
    side: str
    injection: str | None
    expected: str
    what: str


@dataclass(frozen=True)
class Score:
    """Records that are right and wrong by what was expected of them, and the first faults."""

    right: dict[str, int]
    wrong: dict[str, int]
    faults: list[Fault]

    @property
    def passed(self) -> bool:
        return not any(self.wrong.values())

    def as_dict(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}


def _silent(_stage: str, _count: int) -> None:
    """No progress is shown."""


async def score(stores: Stores, truth: Path, seeded: Path, progress: Progress = _silent) -> Score:
    """Whether every repair has the right value on both sides, and every other record the bytes it was seeded with.

    Raises DemoError where nothing was seeded. Reads only; about as long as a scan of both databases.
    """
    lines = read_truth(truth)
    before = _read_seeded(seeded)
    repairs = {key: line for key, line in lines.items() if line["expected"] == Expected.REPAIR}
    frame, kept = await fingerprints(stores, progress, wanted=repairs)
    documents = {key: canonical_document(key[0], document) for key, document in kept.items()}
    rows = await _repaired_rows(stores, repairs)
    faults = list(_unrepaired(repairs, documents, rows))
    faults += _written(before, frame, lines)
    return _tally(lines, before, faults)


def read_truth(path: Path) -> dict[Key, dict[str, Any]]:
    """The lines of the truth file, by entity and id; raises DemoError where there is none."""
    if not path.is_file():
        raise DemoError(f"there is no truth file {path}", SEED_FIRST)
    with path.open(encoding="utf-8") as lines:
        return {(line["entity"], line["id"]): line for line in map(json.loads, lines)}


def _read_seeded(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise DemoError(f"there are no fingerprints {path}", SEED_FIRST)
    return pl.read_parquet(path)


async def _repaired_rows(stores: Stores, repairs: Lines) -> Sides:
    rows = {}
    for entity in ENTITIES:
        ids = [UUID(key) for name, key in repairs if name == entity]
        for row in await stores.admin.fetch(ROW_QUERIES[entity], ids):
            rows[entity, str(row["id"])] = canonical_row(entity, dict(row))
    return rows


def _unrepaired(repairs: Lines, documents: Sides, rows: Sides) -> Iterator[Fault]:
    for key, line in repairs.items():
        after = line["after"]
        without = after and {name: value for name, value in after.items() if name not in DOCUMENT_ONLY}
        for side, found, wanted in (
            (Side.DOCUMENT, documents.get(key), after),
            (Side.RELATIONAL, rows.get(key), without),
        ):
            if found != wanted:
                yield _fault(line, key, side, _difference(found, wanted))


def _difference(found: Canonical | None, wanted: Canonical | None) -> str:
    if found is None:
        return "is missing"
    if wanted is None:
        return "is still there"
    return "; ".join(
        f"{name} is {found[name]!r}, not {wanted[name]!r}" for name in wanted if found[name] != wanted[name]
    )


def _written(before: pl.DataFrame, frame: pl.DataFrame, lines: Lines) -> Iterator[Fault]:
    """What changed, came or went since the seeding without a repair that explains it."""
    joined = before.join(frame, on=KEY, how="full", suffix="_now", coalesce=True)
    changed = joined.filter(pl.col("digest").ne_missing(pl.col("digest_now")))
    for entity, side, key, digest, digest_now in changed.select(*KEY, "digest", "digest_now").iter_rows():
        line = lines.get((entity, key), {"expected": UNTOUCHED, "injection": None})
        if line["expected"] != Expected.REPAIR:
            what = "has come" if digest is None else "is gone" if digest_now is None else "was written"
            yield _fault(line, (entity, key), side, what)


def _fault(line: Mapping[str, Any], key: Key, side: str, what: str) -> Fault:
    return Fault(key[0], key[1], side, line["injection"], line["expected"], what)


def _tally(lines: Lines, before: pl.DataFrame, faults: list[Fault]) -> Score:
    """A record counts once, however many faults it has."""
    expected = Counter(line["expected"] for line in lines.values())
    seeded = set(before.select("entity", "id").unique().iter_rows())
    expected[UNTOUCHED] = len(seeded - lines.keys())
    wrong = Counter(
        each for _entity, _key, each in {(fault.entity, fault.id, fault.expected) for fault in faults}
    )
    groups = [*(each.value for each in Expected), UNTOUCHED]
    return Score(
        right={name: max(0, expected[name] - wrong[name]) for name in groups},
        wrong={name: wrong[name] for name in groups},
        faults=faults[:FAULTS_SHOWN],
    )
