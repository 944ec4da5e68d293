"""`astrocore audit`: what was done, and whether the record of it still is what was sealed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from app.audit.verification.report import Progress, Report
from app.cli import audit_archives, audit_forget, audit_list, output
from app.cli.audit_stores import open_core, read
from app.cli.errors import CommandError
from app.cli.options import AsJson, Cursor, Limit, group
from app.cli.progress import duration
from app.cli.undos import counted
from app.clock import now
from app.errors import ConflictError, InvalidInputError, NotFoundError
from config.settings import PREFIX, SettingsError, settings

if TYPE_CHECKING:
    from app.audit.sealing.listing import SealView
    from app.audit.sealing.proofs import ProofFile
    from app.audit.verification.proofs import Proven
    from app.audit.verification.seals import Keys
    from app.audit.verification.walk import Show
    from app.pages import Page

app = group("See what was done, and hold the record of it to its seals.")
app.command("list")(audit_list.list_entries)
app.command("show")(audit_list.show)
app.command("archive")(audit_archives.archive)
app.command("archives")(audit_archives.archives)
app.command("restore")(audit_archives.restore)
app.command("forget")(audit_forget.forget)

STALE_SECONDS = 300.0  # a sealer that runs comes every minute

PublicKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--public-key",
        metavar="FILE|BASE64",
        help=f"A key whose seals are trusted; may be given several times. Default: {PREFIX}AUDIT_PUBLIC_KEYS.",
        show_default=False,
    ),
]


@app.command("verify")
def verify(
    *,
    public_key: PublicKeys = None,
    known_seal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER:HASH",
            help="A seal noted earlier, that must still be in the chain; may be given several times.",
            show_default=False,
        ),
    ] = None,
    archives: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help=f"Where archives lie. Default: {PREFIX}AUDIT_ARCHIVE_DIR.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read both stores and the archives and compute everything again, from the first seal to the last entry.

    Exits 1 on any fault, 3 where a store cannot be read.
    """
    keys, known = _keys(public_key), dict(map(_known, known_seal or ()))
    with _bar(output.stderr()) as show:
        report = read(lambda: _verify(keys, known, show, archives))
    if as_json:
        output.print_json(report)
    else:
        _print(report, output.stdout())
    if not report.ok:
        raise typer.Exit(1)


@app.command("prove")
def prove(
    wanted: Annotated[
        str, typer.Argument(metavar="ID|SEQUENCE", help="An entry, or a change.", show_default=False)
    ],
    target: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Default: audit-proof-ID.json.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a proof that an entry is what was sealed, for whoever has nothing but the public key."""
    import msgspec

    file = target or Path(f"audit-proof-{wanted}.json")
    made = read(lambda: _prove(_wanted(wanted)))
    try:
        with file.open("xb") as opened:
            opened.write(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}", "--output names another") from error
    told = {"file": str(file), "entries": [each.sequence for each in made.proofs]}
    if as_json:
        output.print_json(told)
    else:
        print(f"{file}: proves {', '.join(f'entry {each}' for each in told['entries'])}")
        print(f"`astrocore audit check-proof {file} --public-key …` checks it anywhere")


@app.command("check-proof")
def check_proof(
    file: Annotated[Path, typer.Argument(help="What `audit prove` has written.", show_default=False)],
    public_key: PublicKeys = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof without any store. Exits 1 where it does not hold."""
    from app.audit.verification.proofs import check_proofs

    keys = _keys(public_key)
    try:
        proven = check_proofs(file.read_bytes(), keys)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from error
    if as_json:
        output.print_json(proven)
    else:
        for each in proven:
            _print_proven(each, output.stdout())


@app.command("seals")
def seals(limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List the seals in the core DB, the latest first."""
    page = read(lambda: _seals(limit, cursor))
    if as_json:
        output.print_json(page)
        return
    columns = ("number", "entries", "sealed at", "key", "hash")
    output.stdout().print(output.listing(columns, map(_row, page.items), right=("number",)))
    output.print_more(page.next_cursor, len(page.items))


@app.command("public-key")
def public_key(as_json: AsJson = False) -> None:
    """Tell the public key of the signing key, for whoever verifies."""
    from app.audit.sealing.keys import Keyring, public_key_of

    ring, secret = Keyring.of(settings()), settings().audit_signing_key
    if ring is None or secret is None:
        raise CommandError(f"{PREFIX}AUDIT_SIGNING_KEY is not set", "`openssl rand -base64 32` makes one")
    told = {"id": ring.id, "public_key": public_key_of(secret.get_secret_value())}
    if as_json:
        output.print_json(told)
    else:
        print(told["public_key"])


def _keys(given: list[str] | None) -> "Keys":
    from app.audit.verification.seals import read_keys

    try:
        return read_keys(given or settings().public_keys)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error
    except InvalidInputError as error:
        faults = "; ".join(f"{each.where}: {each.message}" for each in error.faults)
        raise typer.BadParameter(
            f"{error}{f': {faults}' if faults else ''}; --public-key names one"
        ) from error


def _known(given: str) -> tuple[int, str]:
    number, _, told = given.partition(":")
    if not (number.isascii() and number.isdigit() and len(told) == 64):  # noqa: PLR2004  (hexadecimal digits)
        raise typer.BadParameter(f"{given} is not NUMBER:HASH, as `audit verify` tells the last seal")
    return int(number), told.lower()


def _wanted(given: str) -> int | UUID:
    try:
        return int(given) if given.isascii() and given.isdigit() else UUID(given)
    except ValueError as error:
        raise typer.BadParameter(f"{given} is neither a sequence number nor an id") from error


async def _verify(keys: "Keys", known: dict[int, str], show: "Show | None", archives: Path | None) -> Report:
    from app.audit.verification.stores import open_evidence
    from app.audit.verification.walk import verify as walk

    async with open_evidence(settings(), archives) as evidence:
        report = await walk(evidence, keys, known=known, show=show)
    if not report.ok:
        await _have_told(report)
    return report


async def _have_told(report: Report) -> None:
    """Let operators hear of it, where the core DB takes it: who verifies may have no right to write there."""
    from app.audit.inspection import tell
    from app.stores.health import POSTGRES_FAULTS

    with suppress(*POSTGRES_FAULTS):
        async with open_core() as core:
            await tell(core, report, by="command line")


async def _prove(wanted: int | UUID) -> "ProofFile":
    from app.audit.archiving.library import Library
    from app.audit.sealing.keys import trusted_by
    from app.audit.sealing.proofs import prove as make
    from app.audit.sealing.stream import ChainBrokenError, Stream
    from app.audit.store import AuditStore
    from app.stores.connections import open_redis

    namespace = settings().namespace
    async with open_core() as core, open_redis(settings().url("audit_url")) as redis:
        try:
            audit = AuditStore(
                redis, namespace, archives=Library(core, settings().archive_dir, trusted_by(settings()))
            )
            return await make(core, audit, Stream.of(redis, namespace), wanted)
        except NotFoundError as error:
            raise CommandError(str(error), "`astrocore audit list` lists what there is") from error
        except (ConflictError, ChainBrokenError) as error:
            raise CommandError(str(error), "`astrocore audit verify` tells more") from error


async def _seals(limit: int, cursor: str | None) -> "Page[SealView]":
    from app.audit.sealing.listing import list_seals

    async with open_core() as core:
        try:
            return await list_seals(core, limit=limit, cursor=cursor)
        except ValueError as error:
            raise CommandError(
                f"a seal cannot be read: {error}", "`astrocore audit verify` tells which"
            ) from error


@contextmanager
def _bar(console: Console) -> "Iterator[Show | None]":
    """What shows how far a verification is; nothing does where nobody watches."""
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("verifying"),
        BarColumn(20, complete_style="cyan", finished_style="green"),
        TextColumn("{task.fields[pace]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, pace="")

        def show(progress: Progress) -> None:
            bars.update(
                task, completed=progress.entries, total=progress.total or None, pace=describe(progress)
            )

        yield show


def describe(progress: Progress) -> str:
    """How far a verification is, how fast, and how long still."""
    rate = progress.entries / progress.seconds if progress.seconds else 0.0
    text = f"{progress.entries:,} of {progress.total:,} entries, {rate:,.0f}/s"
    left = progress.total - progress.entries
    return f"{text}, {duration(left / rate)} left" if rate and left > 0 else text


def _print(report: Report, console: Console) -> None:
    console.print(_verdict(report))
    for each in report.findings:
        console.print(
            Text.assemble((f"{each.wrong}: ", "red"), output.printable(each.message)), soft_wrap=True
        )
    pairs = [
        ("sealed", f"{report.sealed:,} entries, by {report.seals:,} seals"),
        ("archived", _archived(report)),
        ("not sealed yet", f"{report.unsealed:,} entries"),
        ("erased", f"{report.erased_entries:,} entries, of {report.erased_persons:,} who were forgotten"),
        ("last seal", f"{report.last_seal or output.NOTHING}"),
        ("sealed at", report.last_sealed_at or output.NOTHING),
        ("signed with", ", ".join(report.keys) or output.NOTHING),
        ("rate", f"{report.entries_per_second:,.0f} entries/s"),
    ]
    console.print(output.facts(pairs))
    if report.unreadable:
        told = f"{report.unreadable:,} of them cannot be read, the first is entry {report.first_unreadable}"
        console.print(Text(f"{told}: `astrocore audit show {report.first_unreadable}`", "yellow"))
    if report.copy_owed:
        console.print(Text(f"seal {report.copy_owed} has yet to get its copy in Redis: it is new", "yellow"))
    if report.tombstone_owed:
        told = f"the tombstone of archive {report.tombstone_owed} has yet to get its copy in Redis"
        console.print(Text(f"{told}: it is new, and its entries are still there", "yellow"))
    if (since := report.unsealed_since) and (now() - since).total_seconds() > STALE_SECONDS:
        console.print(
            Text(f"entries since {output.moment(since)} are not sealed: does the sealer run?", "yellow")
        )


def _archived(report: Report) -> str:
    unread = f"; {report.unread:,} more cannot be read" if report.unread else ""
    return f"{report.archived:,} entries of these, in {counted(report.archives, 'archive')}{unread}"


def _verdict(report: Report) -> Text:
    if not report.ok:
        return Text("the audit store is not what was sealed; the first faults found:", "bold red")
    if report.seals:
        return Text("every sealed entry is what was sealed", "green")
    return Text("nothing is sealed yet, so nothing is proven", "yellow")


def _print_proven(proven: "Proven", console: Console) -> None:
    console.print(Text("the proof holds", "green"))
    pairs = [
        ("entry", str(proven.sequence)),
        ("sealed at", f"{proven.sealed_at}, by seal {proven.seal}"),
        ("signed with", proven.key),
        ("content", output.printable(bytes(proven.entry).decode())),
    ]
    console.print(output.facts(pairs))


def _row(seal: "SealView") -> tuple[str, ...]:
    return (
        str(seal.number),
        f"{seal.first}-{seal.last}",
        output.moment(seal.time),
        seal.key,
        f"{seal.hash[:16]}…",
    )
