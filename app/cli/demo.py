"""`astrocore seed` and `astrocore simulate`: data and traffic to try the system with."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import AsJson
from app.cli.output import facts, listing, print_json, stderr, stdout
from config.settings import settings

if TYPE_CHECKING:
    from app.demo.score import Score
    from app.demo.seeding import Plan, Seeded


class Bars:
    """The progress of a long command: a bar for each stage, on a terminal only."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._stages: dict[str, Any] = {}

    def starting(self, stage: str, total: int) -> None:
        self._stages[stage] = self._bars.add_task(stage, total=total)

    def complete(self) -> None:
        """Every stage is over: its total was an estimate."""
        for task in self._bars.tasks:
            self._bars.update(task.id, total=task.completed)

    def done(self, stage: str, count: int) -> None:
        if stage in self._stages:
            self._bars.update(self._stages[stage], advance=count)


@contextmanager
def progress_bars(*, quiet: bool, unit: str = "records") -> Iterator[Bars]:
    """Bars with rate and time left, on stderr."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed or 0
            return Text(f"{speed:,.0f} {unit}/s")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<13}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    shown = sys.stderr.isatty() and not quiet
    with Progress(*columns, console=stderr(), disable=not shown) as bars:
        stages = Bars(bars)
        yield stages
        stages.complete()


def seed(
    *,
    bookings: Annotated[int, typer.Option("--bookings", help="Bookings to make.")] = 10_000,
    customers: Annotated[
        int | None,
        typer.Option("--customers", help="Customers to make.", show_default="a fifth of the bookings"),
    ] = None,
    launches: Annotated[
        int | None, typer.Option("--launches", help="Launches to make.", show_default="one for 25 bookings")
    ] = None,
    drift: Annotated[
        float, typer.Option("--drift", help="Share of the records to tamper with, 0 to 0.2; 0 for none.")
    ] = 0.01,
    random_seed: Annotated[
        int, typer.Option("--random-seed", help="The same one gives the same data all day.")
    ] = 1,
    force: Annotated[bool, typer.Option("--force", help="Empty both databases first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before emptying.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Seed nothing: hold the databases against the last truth file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fill both databases with believable data and drift, and write down what reconciliation must make of it.

    The truth file and the fingerprints of every record lie in the data directory: truth.jsonl and seeded.parquet.
    """
    from app.demo.seeding import Plan
    from app.demo.world import Sizes

    if check:
        _check(as_json=as_json)
        return
    try:
        plan = Plan(Sizes.of(bookings, customers, launches), drift=drift, random_seed=random_seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    seeded = asyncio.run(_seed(plan, force=force, ask=not yes and sys.stdin.isatty(), quiet=as_json))
    if as_json:
        print_json(asdict(seeded) | {"truth": str(seeded.truth), "seeded": str(seeded.seeded)})
    else:
        _show_seeded(seeded)


async def _seed(plan: "Plan", *, force: bool, ask: bool, quiet: bool) -> "Seeded":
    from app.demo import seeding
    from app.demo.load import count_records, store_faults
    from app.stores.connections import open_stores

    with store_faults():
        async with open_stores(settings()) as stores:
            seeding.refuse_production(stores)
            if force and ask and (found := await count_records(stores)):
                typer.confirm(f"Remove {seeding.spell(found)}?", abort=True, err=True)
            with progress_bars(quiet=quiet) as bars:
                return await seeding.seed(
                    stores,
                    plan,
                    now=datetime.now(UTC),
                    force=force,
                    starting=bars.starting,
                    progress=bars.done,
                )


def _show_seeded(seeded: "Seeded") -> None:
    stdout().print(
        facts(
            [
                *((name, f"{count:,}") for name, count in seeded.records.items()),
                *((f"expected {name}", f"{count:,}") for name, count in seeded.expected.items()),
                ("truth", str(seeded.truth)),
                ("fingerprints", str(seeded.seeded)),
                ("took", f"{seeded.seconds:.1f} s"),
            ]
        )
    )


def _check(*, as_json: bool) -> None:
    """Print the score; exit code 1 where anything is wrong."""
    found = asyncio.run(_score(quiet=as_json))
    if as_json:
        print_json(found.as_dict())
    else:
        _show_score(found)
    if not found.passed:
        raise typer.Exit(1)


async def _score(*, quiet: bool) -> "Score":
    from app.demo.fingerprints import FINGERPRINTS
    from app.demo.load import count_records, store_faults
    from app.demo.score import score
    from app.demo.seeding import SEEDED_FILE, TRUTH_FILE
    from app.stores.connections import open_stores

    folder = settings().data_dir
    with store_faults():
        async with open_stores(settings()) as stores:
            with progress_bars(quiet=quiet) as bars:
                counts = await count_records(stores)
                documents = sum(count for name, count in counts.items() if name.startswith("customer."))
                bars.starting(FINGERPRINTS, documents)
                return await score(stores, folder / TRUTH_FILE, folder / SEEDED_FILE, bars.done)


def _show_score(found: "Score") -> None:
    rows = [(name, f"{right:,}", f"{found.wrong[name]:,}") for name, right in found.right.items()]
    stdout().print(listing(("expected", "right", "wrong"), rows, right=("right", "wrong")))
    for fault in found.faults:
        injection = f" ({fault.injection})" if fault.injection else ""
        stdout().print(f"{fault.entity} {fault.id}{injection}, {fault.side} side: {fault.what}")
