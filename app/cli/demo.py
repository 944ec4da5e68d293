"""`astrocore seed` and `astrocore simulate`: data and traffic to try the system with."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.cli.client import SIGN_IN, as_client, url_of
from app.cli.errors import CommandError
from app.cli.options import AsJson
from app.cli.output import facts, listing, print_json, stderr, stdout
from config.settings import settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from app.demo.score import Score
    from app.demo.seeding import Plan, Seeded
    from app.demo.traffic import Order, Summary

Result = TypeVar("Result")


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
    from app.demo.sizes import Sizes

    if check:
        _check(as_json=as_json)
        return
    try:
        plan = Plan(Sizes.of(bookings, customers, launches), drift=drift, random_seed=random_seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    seeded = _run(_seed(plan, force=force, ask=not yes and sys.stdin.isatty(), quiet=as_json))
    if as_json:
        print_json(asdict(seeded) | {"truth": str(seeded.truth), "seeded": str(seeded.seeded)})
    else:
        _show_seeded(seeded)


def _run(work: "Coroutine[Any, Any, Result]") -> Result:
    from app.demo.errors import DemoError
    from app.demo.load import store_faults

    try:
        with store_faults():
            return asyncio.run(work)
    except DemoError as error:
        raise CommandError(str(error), error.hint) from error


async def _seed(plan: "Plan", *, force: bool, ask: bool, quiet: bool) -> "Seeded":
    from app.demo import seeding
    from app.demo.load import count_records
    from app.stores.connections import open_stores

    seeding.refuse_production(settings())
    async with open_stores(settings()) as stores:
        if force and ask and (found := await count_records(stores)):
            typer.confirm(f"Remove {seeding.spell(found)}?", abort=True, err=True)
        with progress_bars(quiet=quiet) as bars:
            return await seeding.seed(
                stores, plan, now=datetime.now(UTC), force=force, starting=bars.starting, progress=bars.done
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
    found = _run(_score(quiet=as_json))
    if as_json:
        print_json(found.as_dict())
    else:
        _show_score(found)
    if not found.passed:
        raise typer.Exit(1)


async def _score(*, quiet: bool) -> "Score":
    from app.demo.fingerprints import FINGERPRINTS
    from app.demo.load import count_records
    from app.demo.score import score
    from app.demo.seeding import SEEDED_FILE, TRUTH_FILE
    from app.stores.connections import open_stores

    folder = settings().data_dir
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


def simulate(
    *,
    rate: Annotated[float, typer.Option("--rate", help="Operations a second.")] = 10.0,
    duration: Annotated[float, typer.Option("--duration", help="Seconds.")] = 60.0,
    miss_rate: Annotated[
        float,
        typer.Option("--miss-rate", help="Share of the operations that the Core API is not told of, 0 to 1."),
    ] = 0.1,
    random_seed: Annotated[
        int, typer.Option("--random-seed", help="The same one makes about the same choices.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Act as the two other services: book, cancel, delay, edit, delete, each on its own side.

    The Core API is told of it through REST, but for the share that is forgotten.
    """
    from app.demo.traffic import Order

    try:
        order = Order(rate, duration, miss_rate, random_seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    summary = _run(_simulate(order, quiet=as_json))
    if as_json:
        print_json(vars(summary) | {"done": summary.done})
    else:
        _show_summary(summary)


async def _simulate(order: "Order", *, quiet: bool) -> "Summary":
    from app.demo.seeding import refuse_production
    from app.demo.traffic import simulate as trade
    from app.stores.connections import open_stores

    chosen = settings()
    refuse_production(chosen)
    auth = as_client(chosen)
    if auth is None and order.miss_rate < 1:
        raise CommandError("no client is known", SIGN_IN)
    async with open_stores(chosen) as stores:
        with progress_bars(quiet=quiet, unit="operations") as bars:
            bars.starting("traffic", round(order.rate * order.duration))
            return await trade(
                stores,
                order,
                url=url_of(chosen),
                auth=auth,
                progress=lambda count: bars.done("traffic", count),
            )


def _show_summary(summary: "Summary") -> None:
    rows = [(name, f"{count:,}") for name, count in summary.operations.most_common()]
    stdout().print(listing(("operation", "done"), rows, right=("done",)))
    stdout().print(
        facts(
            [
                (
                    "done",
                    f"{summary.done:,} in {summary.seconds:.1f} s, {summary.done / summary.seconds:.1f}/s",
                ),
                ("changes told", f"{summary.told:,}"),
                ("forgotten", f"{summary.forgotten:,}"),
                ("not told in spite of trying", f"{summary.failed_reports:,}"),
                ("refused by a store", f"{summary.refused:,}"),
                ("found nothing to do", f"{summary.idle:,}"),
            ]
        )
    )
