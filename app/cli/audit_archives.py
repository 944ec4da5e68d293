"""`astrocore audit archive`, `archives` and `restore`: where the oldest entries are, and how they get there."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.audit.archiving.views import ArchiveView, Order, Plan
from app.cli import output
from app.cli.audit_stores import open_core, read
from app.cli.client import Api, connect
from app.cli.errors import CommandError, UnreachableError
from app.cli.options import AsJson, Cursor, Limit, Yes, confirm, settled
from app.cli.undos import counted
from app.errors import InvalidInputError
from app.moments import SAID
from app.pages import Page
from config.settings import PREFIX, settings

if TYPE_CHECKING:
    from app.audit.archiving.restoring import Restored

PATH = ("audit", "archives")
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
# Without an end for so long something is said, or no longer waited for.
SAYING_SECONDS = 10.0
WAITING_SECONDS = 1800.0


def archive(
    *,
    before: Annotated[
        str | None, typer.Option(help=f"What was sealed before then; {SAID}.", show_default=False)
    ] = None,
    keep: Annotated[
        int | None, typer.Option(metavar="DAYS", min=0, max=99_999, help="What is older.", show_default=False)
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, for whoever reads the history later.")
    ] = "ordered at the command line",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would move.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Move entries to archives now; without --before or --keep what is due by its age anyway.

    What was sealed within the last hour stays where it is, and so does what a change or a fact still needs.
    """
    if before is not None and keep is not None:
        raise CommandError("--before and --keep say the same thing twice", "give one of them")
    given = settled("--before", f"{keep}d" if keep is not None else before)
    body: dict[str, Any] = {} if given is None else {"before": given}
    with connect() as api:
        planned = api.post((*PATH, "preview"), Plan, body)
        if dry_run or not planned.entries:
            _print_plan(planned, as_json=as_json)
            return
        _agree(planned, yes=yes)
        ended = _follow(api, api.post(PATH, Order, body | {"reason": reason}))
    if as_json:
        output.print_json(ended)
    else:
        print(f"{_entries(ended.entries or 0)} moved to {counted(ended.archives or 0, 'archive')}")
    if ended.refused:
        raise CommandError(ended.refused, "the log of the workers and `astrocore doctor` say more")


def archives(limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List archives, the latest first."""
    with connect() as api:
        page = api.get(PATH, Page[ArchiveView], limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    columns = ("number", "entries", "from", "to", "bytes", "file", "state")
    output.stdout().print(output.listing(columns, map(_row, page.items), right=("number", "bytes")))
    output.print_more(page.next_cursor, len(page.items))


def restore(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|DIR…", help="Archive files, or where they lie.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Take archive files back from a backup, once they are found to be what was archived.

    Works on this machine's directory of archives. Either all of them are taken or none.
    """
    restored = read(lambda: _restore(files))
    if as_json:
        output.print_json(restored)
        return
    for each in restored:
        state = "restored" if each.copied else "was there already"
        print(f"archive {each.number}, {_entries(each.entries)}: {each.file} {state}")


async def _restore(files: list[Path]) -> "list[Restored]":
    from app.audit.archiving.restoring import Restorer
    from app.audit.sealing.keys import Keyring
    from app.stores.connections import open_redis

    keys = Keyring.of(settings())
    if keys is None:
        raise CommandError(f"{PREFIX}AUDIT_SIGNING_KEY is not set, and archives are checked with it")
    async with open_core() as core, open_redis(settings().url("audit_url")) as redis:
        restorer = Restorer(core, redis, settings().namespace, settings().archive_dir, keys)
        try:
            return await restorer.restore(files, by="command line")
        except InvalidInputError as error:
            told = [str(error), *(f"  {each.where}: {each.message}" for each in error.faults)]
            raise CommandError("\n".join(told), "nothing was changed") from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}") from error


def _agree(planned: Plan, *, yes: bool) -> None:
    what = f"{_entries(planned.entries)}, sealed before {output.moment(planned.before)}"
    if yes:
        output.stderr().print(f"archiving {what}")
    else:
        confirm(f"Move {what}, to archives?")


def _print_plan(planned: Plan, *, as_json: bool) -> None:
    if as_json:
        output.print_json(planned)
        return
    place = f", {planned.first} to {planned.last}" if planned.entries else ""
    pairs = [
        ("sealed before", output.moment(planned.before)),
        (
            "would move",
            f"{_entries(planned.entries)}{place}, of {counted(planned.seals, 'seal')}",
        ),
        ("stopped by", planned.held_by or "the age of what follows"),
    ]
    output.stdout().print(output.facts(pairs))


def _follow(api: Api, order: Order) -> Order:
    """Wait until a worker has done it; raises UnreachableError after a minute of silence, CommandError after half an hour."""
    started = heard = time.monotonic()
    said = False
    while order.finished_at is None:
        time.sleep(POLL_SECONDS)
        waited = time.monotonic() - started
        if waited > WAITING_SECONDS:
            raise CommandError(
                f"no worker has ended order {order.id}; it stands",
                "the log of the workers and `astrocore doctor` say more",
            )
        if waited > SAYING_SECONDS and not said:
            said = True
            output.stderr().print(
                "waiting for a worker to end it; one that runs begins at once, or within the hour"
            )
        try:
            order = api.get((*PATH, "orders", str(order.id)), Order)
            heard = time.monotonic()
        except UnreachableError:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
    return order


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _row(each: ArchiveView) -> tuple[str, ...]:
    state = "file missing" if not each.there else "archived" if each.trimmed else "being trimmed"
    return (
        str(each.number),
        f"{each.first}-{each.last}",
        output.moment(each.earliest),
        output.moment(each.latest),
        f"{each.bytes:,}",
        each.file,
        state,
    )
