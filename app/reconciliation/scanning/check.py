"""The invariants of an entity over everything that each side holds, in columns: which records may break one.

Each side is read once, whatever the number of invariants; what they need of other entities is read before and kept.
As in a scan, nothing is confirmed here and nothing is changed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

import polars as pl

from app.reconciliation.invariants import AtMost, Invariant, Product, Refers, referred_by
from app.reconciliation.mapping import Field, Mapping, Review, Side
from app.reconciliation.rules import invariants_of
from app.reconciliation.scanning.arrivals import Pace
from app.reconciliation.scanning.canonical import KEY, SCALE, Layout, key_text, layout_of, spill_of
from app.reconciliation.scanning.compare import DOUBTFUL, FINDINGS_PER_CALL, TOTAL, Finding, FindingKind
from app.reconciliation.scanning.reader import Reader
from app.reconciliation.scanning.scan import ScanResult
from app.reconciliation.scanning.snapshots import KeyRange
from app.reconciliation.scanning.sums import layout_of_total, sum_up
from app.reconciliation.values import Kind
from config.settings import Settings

# Joining with what was kept costs the more the smaller the pieces are.
_ROWS_AT_ONCE = 200_000
_PRICE, _CHANGED = "price of the other", "other changed"


@dataclass
class CheckResult(ScanResult):
    """What a check read and found, and how many records an invariant could not judge on a side."""

    unjudged: Counter[tuple[Invariant, Side]] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Seen:
    """What an invariant sees in some rows: the keys that may break it, and how many rows it cannot judge."""

    keys: pl.Series
    unjudged: int = 0


_Look = Callable[[pl.DataFrame], _Seen]


def check(
    settings: Settings,
    mapping: Mapping,
    key_range: KeyRange,
    *,
    on_findings: Callable[[list[Finding]], None],
    on_progress: Callable[[int, int], None] = lambda _documents, _relational: None,
    stopped: Callable[[], bool] = lambda: False,
    pace: Pace = lambda: None,
) -> CheckResult:
    """Find the records in a range that may break an invariant of theirs; blocks, so call it in a worker thread.

    Callbacks and errors are those of a scan; a record that two sides find comes twice.
    """
    reader = Reader(settings, stopped, pace)
    looks = {side: _looks(reader, mapping, side) for side in Side}
    layout, names = _layout(mapping)
    result = CheckResult()

    def take(side: Side, frames: list[pl.DataFrame]) -> None:
        rows = pl.concat(frames).filter(pl.col(KEY).is_not_null()).rename(names)
        findings = list(_findings(result, mapping, looks[side], side, rows))
        result.findings += len(findings)
        for at in range(0, len(findings), FINDINGS_PER_CALL):
            on_findings(findings[at : at + FINDINGS_PER_CALL])

    waiting = defaultdict[Side, list[pl.DataFrame]](list)
    sides = {side: layout for side in Side if looks[side]}
    with closing(reader.read(sides, key_range)) as arrivals:
        for side, frame in arrivals:
            result.count(side, len(frame))
            on_progress(result.document_records, result.relational_records)
            waiting[side].append(frame)
            if sum(map(len, waiting[side])) >= _ROWS_AT_ONCE:
                take(side, waiting.pop(side))
    for side, frames in waiting.items():
        take(side, frames)
    return result


def _layout(mapping: Mapping) -> tuple[Layout, dict[str, str]]:
    """What to read of the entity itself, and a name for each column of its frames."""
    fields = sorted({name for each in invariants_of(mapping.entity) for name in each.form.own_fields})
    layout = layout_of(mapping, [mapping.field_by_name[name] for name in fields])
    names = {str(at): _own(name) for at, name in enumerate(fields)}
    names |= {spill_of(at): _spill(name) for at, name in enumerate(fields) if spill_of(at) in layout.schema}
    return layout, names


def _own(name: str) -> str:
    """The column of a field: a field itself may have the name of another column."""
    return f"own {name}"


def _spill(name: str) -> str:
    return f"{name} beyond"


def _findings(
    result: CheckResult,
    mapping: Mapping,
    looks: list[tuple[Invariant, _Look]],
    side: Side,
    rows: pl.DataFrame,
) -> Iterator[Finding]:
    """The rows that may break invariants, each with all of them."""
    found = defaultdict[Any, list[str]](list)
    for invariant, look in looks:
        seen = look(rows)
        result.unjudged[invariant, side] += seen.unjudged
        for key in seen.keys:
            found[key].append(invariant.name)
    for key, broken in found.items():
        yield Finding(key_text(mapping.key_kind, key), FindingKind.INVARIANT, tuple(broken))


def _looks(reader: Reader, mapping: Mapping, side: Side) -> list[tuple[Invariant, _Look]]:
    own = (each for each in invariants_of(mapping.entity) if side in each.sides)
    return [(each, _look(mapping, each, partial(reader.read_side, side))) for each in own]


def _look(mapping: Mapping, invariant: Invariant, read: Callable[[Layout], Iterator[pl.DataFrame]]) -> _Look:
    """Read what an invariant needs of other entities; answers what tells the rows that may break it."""
    form = invariant.form
    match form:
        case AtMost():
            totals = sum_up(form.total, read(layout_of_total(form.total)))
            return partial(_see_more, form, totals)
        case Refers():
            referred = layout_of(referred_by(mapping, form.field), ())
            keys = _gathered(referred, (frame.select(KEY) for frame in read(referred)))
            return partial(_see_nobody, form, keys)
        case Product():
            layout = _priced(referred_by(mapping, form.reference), form.price)
            return partial(_see_other, form, _gathered(layout, map(_named, read(layout))))
        case _:
            assert_never(form)


def _gathered(layout: Layout, frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    parts = [frame.filter(pl.col(KEY).is_not_null()) for frame in frames]
    return pl.concat(parts) if parts else _named(pl.DataFrame(schema=layout.schema))


def _see_more(form: AtMost, totals: pl.DataFrame, rows: pl.DataFrame) -> _Seen:
    joined = rows.join(totals, on=KEY, how="left")
    known = pl.col(_own(form.limit)).is_not_null() & ~pl.col(DOUBTFUL).fill_null(value=False)
    more = pl.col(TOTAL).fill_null(0) > pl.col(_own(form.limit)).cast(pl.Int128) * 10**SCALE
    return _seen(joined, known, more)


def _see_nobody(form: Refers, keys: pl.DataFrame, rows: pl.DataFrame) -> _Seen:
    return _Seen(rows.join(keys, left_on=_own(form.field), right_on=KEY, how="anti")[KEY])


def _see_other(form: Product, referred: pl.DataFrame, rows: pl.DataFrame) -> _Seen:
    joined = rows.join(referred, left_on=_own(form.reference), right_on=KEY)
    # What millionths cannot hold is no reason not to judge: it is looked at one by one.
    beyond = pl.col(_spill(form.field)).is_not_null() | pl.col(_spill(_PRICE)).is_not_null()
    present = (pl.col(_own(form.field)).is_not_null() & pl.col(_PRICE).is_not_null()) | beyond
    known = present & pl.col(_own(form.factor)).is_not_null() & _unchanged(form)
    right = pl.col(_own(form.factor)).cast(pl.Int128) * pl.col(_PRICE).cast(pl.Int128)
    return _seen(joined, known, beyond | (pl.col(_own(form.field)).cast(pl.Int128) != right))


def _unchanged(form: Product) -> pl.Expr:
    """Whether the other record has not changed since; not known where a moment is missing."""
    before = [pl.col(_CHANGED) < pl.col(_own(moment)) for moment in form.moments]
    return pl.all_horizontal(before).fill_null(value=False)


def _seen(rows: pl.DataFrame, known: pl.Expr, broken: pl.Expr) -> _Seen:
    judged = rows.filter(known)
    return _Seen(judged.filter(broken)[KEY], len(rows) - len(judged))


def _priced(mapping: Mapping, price: str) -> Layout:
    changed = Field(_CHANGED, Kind.TIMESTAMP, Review(), mapping.updated_at_path, mapping.updated_at)
    return layout_of(mapping, [mapping.field_by_name[price], changed])


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    named = {"0": _PRICE, spill_of(0): _spill(_PRICE), "1": _CHANGED}
    return frame.select(
        KEY, *(pl.col(name).alias(other) for name, other in named.items() if name in frame.columns)
    )
