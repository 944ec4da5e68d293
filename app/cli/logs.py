"""`astrocore logs`: what every process and every API consumer logged."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, cast

import msgspec
import typer

from app.cli import output
from app.cli.client import Api, connect
from app.cli.errors import CommandError, UnreachableError
from app.cli.log_follow import follow as entries_as_they_come
from app.cli.log_lines import Show, show_json, shows_text
from app.cli.options import AsJson, Cursor, Limit, OfRecord, group, settled
from app.logs.queries import LogStats
from app.logs.views import LogList
from app.moments import SAID
from config.log_entries import LEVELS

_LONGEST_END = 1_000  # bytes; the line that says that an export is not whole is shorter

app = group("Search the logs, follow them, export them.")


def _only(what: str, *names: str) -> Any:
    return typer.Option(*names, help=f"Only {what}.", show_default=False)


Level = Annotated[str | None, _only(f"of this level or above: {', '.join(LEVELS)}", "--level")]
Component = Annotated[str | None, _only("of this part: web, worker, scheduler, …", "--component")]
Event = Annotated[str | None, _only("of this name", "--event")]
Actor = Annotated[str | None, _only("what this actor did", "--actor")]
RequestId = Annotated[str | None, _only("what began with this request", "--request-id")]
TraceId = Annotated[str | None, _only("of this trace", "--trace-id")]
Entity = Annotated[str | None, _only("of a record of this entity", "--entity")]
Client = Annotated[str | None, _only("what this API consumer sent", "--client")]
Since = Annotated[str | None, _only(f"from then on. A moment {SAID}", "--since")]
Until = Annotated[str | None, _only("up to then", "--until")]
Texts = Annotated[
    list[str] | None, _only("with this in a value, or with `field:value`; may be repeated", "--text")
]


@app.command("list")
def list_logs(
    *,
    level: Level = None,
    component: Component = None,
    event: Event = None,
    actor: Actor = None,
    request_id: RequestId = None,
    trace_id: TraceId = None,
    entity: Entity = None,
    record: OfRecord = None,
    client: Client = None,
    since: Since = None,
    until: Until = None,
    text: Texts = None,
    order: Annotated[
        str | None, typer.Option(help="newest or oldest first; newest unless said.", show_default=False)
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the latest, then more as they come, until Ctrl-C.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show stacks below their entries.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List log entries: one line each on a terminal, one JSON document each in a pipe.

    With --json, one document for the whole page; with --json and --follow, one for each entry.
    """
    wanted = _wanted(locals())
    show = shows_text(verbose=verbose) if sys.stdout.isatty() and not as_json else show_json
    with connect() as api:
        if follow:
            if order or cursor:
                raise typer.BadParameter("--follow has an order of its own: leave --order and --cursor out")
            _follow(api, wanted, limit, show)
            return
        page = api.get(("logs",), LogList, **wanted, order=order, limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    for line in page.items:
        show(line)
    if page.unreadable:
        output.stderr().print(f"{page.unreadable:,} entries on the way cannot be read", style="yellow")
    if not page.complete:
        output.stderr().print("the filters seldom hold: only some entries were looked at")
    output.print_more(page.next_cursor, len(page.items))


def _follow(api: Api, wanted: dict[str, Any], limit: int, show: Show) -> None:
    # What arrives between the two calls is on the page; what arrives after, in the stream.
    last = api.get(("logs", "stats"), LogStats).last_number
    latest = api.get(("logs",), LogList, **wanted, limit=limit).items
    for line in reversed(latest):
        show(line)
    after = max([last, *(line.number for line in latest)])
    for line in entries_as_they_come(api, wanted, after):
        show(line)
        sys.stdout.flush()


def _wanted(given: dict[str, Any]) -> dict[str, Any]:
    """The filters among a command's options, as the API calls them; moments are settled once."""
    names = ("level", "component", "event", "actor", "request_id", "trace_id", "entity", "client", "text")
    wanted = {name: given[name] or None for name in names}
    if wanted["level"]:
        wanted["level"] = wanted["level"].upper()
    moments = {name: settled(f"--{name}", given[name]) for name in ("since", "until")}
    return {**wanted, **moments, "id": given["record"]}


@app.command("export")
def export_logs(
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Ends in .ndjson or .csv; with .gz after it, it is packed.")
    ],
    level: Level = None,
    component: Component = None,
    event: Event = None,
    actor: Actor = None,
    request_id: RequestId = None,
    trace_id: TraceId = None,
    entity: Entity = None,
    record: OfRecord = None,
    client: Client = None,
    since: Since = None,
    until: Until = None,
    text: Texts = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write every entry that meets the filters into a file, the oldest first.

    The file is there when it is whole, and not before.
    """
    wanted = _wanted(locals())
    kind = Path(file.name.removesuffix(".gz")).suffix.removeprefix(".")
    if kind not in {"ndjson", "csv"}:
        raise typer.BadParameter(f"{file} must end in .ndjson or .csv, or in .gz after one of these")
    if file.exists() and not force:
        raise CommandError(f"{file} exists", "--force replaces it")
    end = b""
    with connect() as api, _arriving(file) as arriving:
        try:
            with api.stream(("logs", "export"), {"Accept-Encoding": "gzip"}, **wanted, format=kind) as chunks:
                for chunk in chunks:
                    arriving.write(chunk)
                    end = (end + chunk)[-_LONGEST_END:]
        except UnreachableError as error:
            raise UnreachableError(
                f"{error.what}; {file} was not written", "`astrocore doctor` shows which part is away"
            ) from None
    gaps = _gaps_in(end)
    if gaps:
        output.stderr().print(gaps, style="yellow")
    if as_json:
        output.print_json({"file": str(file), "bytes": file.stat().st_size, "incomplete": gaps})
    else:
        output.stdout().print(f"{output.printable(str(file))}: {file.stat().st_size:,} bytes", soft_wrap=True)


def _gaps_in(end: bytes) -> str | None:
    """What the last line says that the export lacks; None where it is whole."""
    line = end.rstrip(b"\r\n").rpartition(b"\n")[2]
    if line.startswith(b'{"incomplete":'):
        return str(msgspec.json.decode(line)["incomplete"])
    if line.startswith(b'"this export is not whole:'):
        return line.strip(b'"').decode()
    return None


@contextmanager
def _arriving(file: Path) -> Iterator[IO[bytes]]:
    """What to write to, beside the file; it takes the file's place when the block ends well, and goes otherwise."""
    beside = file.with_name(f"{file.name}.part")
    try:
        with (gzip.open if file.suffix == ".gz" else open)(beside, "wb") as opened:
            yield cast("IO[bytes]", opened)
        beside.replace(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


@app.command("stats")
def show_stats(as_json: AsJson = False) -> None:
    """Show how much is kept, what was trimmed and what was lost."""
    with connect() as api:
        stats = api.get(("logs", "stats"), LogStats)
    if as_json:
        output.print_json(stats)
        return
    output.stdout().print(
        output.facts(
            [
                ("entries", f"{stats.entries:,}"),
                ("from", output.moment(stats.oldest)),
                ("to", output.moment(stats.newest)),
                (
                    "trimmed",
                    f"{stats.trimmed:,}"
                    + (f", up to {output.moment(stats.trimmed_until)}" if stats.trimmed else ""),
                ),
                ("lost", f"{stats.lost:,}"),
                ("memory", f"{stats.memory_bytes / 1_000_000:,.1f} MB"),
            ]
        )
    )
