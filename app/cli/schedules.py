"""`astrocore schedules`: when mail goes by itself, and what the service's other work is done by."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect
from app.cli.errors import CommandError
from app.cli.notify import read_value
from app.cli.options import AsJson, Cursor, Limit, Reason, Yes, confirm, group
from app.notifications.recurring.views import (
    DryRun,
    DueView,
    ScheduleDetail,
    ScheduleView,
    TickView,
    Triggered,
)
from app.pages import Page

app = group("Look after schedules: of mail, and of the service's other work.")

ALL = "schedules"
DUE = "due"


class CatchUp(StrEnum):
    """What becomes of ticks that come late."""

    ONCE = "fire_once"
    ALL = "fire_all"
    SKIP = "skip"


def _named(name: str) -> str:
    """Raises CommandError for the name that no schedule has: what is due lies where it would."""
    if name == DUE:
        raise CommandError(f"no schedule is named {DUE}", "`astrocore schedules due` lists what comes due")
    return name


Name = Annotated[str, typer.Argument(help="The schedule's name.", show_default=False, callback=_named)]
Zone = Annotated[
    str | None,
    typer.Option("--zone", help="Of the times, as Europe/Madrid. Default: UTC.", show_default=False),
]
Template = Annotated[
    str | None, typer.Option("--template", help="Default: the query's own.", show_default=False)
]
Locale = Annotated[
    str | None, typer.Option("--locale", help="Language, such as es. Default: en.", show_default=False)
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="KEY=VALUE", help="Of the query, such as hours_before=48.", show_default=False
    ),
]
Late = Annotated[
    CatchUp | None,
    typer.Option("--catch-up", help="What becomes of late ticks. Default: fire_once.", show_default=False),
]


@app.command("list")
def list_schedules(
    mail: Annotated[bool, typer.Option("--mail", help="Only those of mail.")] = False, as_json: AsJson = False
) -> None:
    """List schedules."""
    with connect() as api:
        found = [each for each in api.get((ALL,), list[ScheduleView]) if each.query or not mail]
    if as_json:
        output.print_json(found)
        return
    columns = ("name", "when", "does", "on", "next", "last")
    output.stdout().print(output.listing(columns, map(_row, found)))


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a schedule, when it is due, and what came of its last ticks."""
    with connect() as api:
        _tell(api.get((ALL, name), ScheduleDetail), as_json=as_json)


@app.command("add")
def add(
    name: Name,
    *,
    cron: Annotated[str, typer.Option("--cron", help="When: five fields, as '0 8 * * 1'.")],
    query: Annotated[str, typer.Option("--query", help="To whom, such as launch_reminders.")],
    reason: Reason,
    zone: Zone = None,
    template: Template = None,
    locale: Locale = None,
    option: Options = None,
    catch_up: Late = None,
    off: Annotated[bool, typer.Option("--off", help="Do not switch it on yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a schedule of mail."""
    given = _given(cron=cron, zone=zone, template=template, locale=locale, catch_up=catch_up, option=option)
    body = given | {"name": name, "query": query, "reason": reason, "enabled": not off}
    with connect() as api:
        _tell(api.post((ALL,), ScheduleDetail, body), as_json=as_json)


@app.command("change")
def change(
    name: Name,
    *,
    reason: Reason,
    cron: Annotated[str | None, typer.Option("--cron", help="When.", show_default=False)] = None,
    zone: Zone = None,
    template: Template = None,
    locale: Locale = None,
    option: Options = None,
    catch_up: Late = None,
    as_json: AsJson = False,
) -> None:
    """Change a schedule of mail; --option replaces all of them."""
    given = _given(cron=cron, zone=zone, template=template, locale=locale, catch_up=catch_up, option=option)
    if not given:
        raise typer.BadParameter("say what is to be another")
    with connect() as api:
        _tell(api.patch((ALL, name), ScheduleDetail, given | {"reason": reason}), as_json=as_json)


@app.command("reset")
def reset(name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Make a schedule that comes with the service what it was before it was changed."""
    with connect() as api:
        _tell(_decide(api, name, "reset", reason), as_json=as_json)


@app.command("enable")
def enable(name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Switch a schedule on; what would have been due meanwhile is not."""
    with connect() as api:
        _tell(_decide(api, name, "enable", reason), as_json=as_json)


@app.command("disable")
def disable(name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Switch a schedule off; it can still be fired by hand."""
    with connect() as api:
        _tell(_decide(api, name, "disable", reason), as_json=as_json)


@app.command("remove")
def remove(name: Name, reason: Reason, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove a schedule of mail that was added; its mails stay."""
    if not yes:
        confirm(f"Remove the schedule {name}?")
    with connect() as api:
        api.delete((ALL, name), reason=reason)
    if as_json:
        output.print_json({"name": name})
    else:
        print("removed")


@app.command("trigger")
def trigger(
    name: Name,
    key: Annotated[
        str | None,
        typer.Option(help="Repeated under one key, it fires once. Default: a new one.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fire a schedule now, on or off; what it has sent before is not sent again."""
    with connect() as api:
        made = api.post((ALL, name, "trigger"), Triggered, {}, key=str(uuid4()) if key is None else key)
    if as_json:
        output.print_json(made)
        return
    print(f"fired for {output.moment(made.tick)} UTC")
    output.stderr().print(f"`astrocore schedules show {output.printable(name)}` tells what comes of it")


@app.command("dry-run")
def dry_run(name: Name, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Tell who would get what if it were fired now. That you looked is recorded."""
    with connect() as api:
        found = api.post((ALL, name, "dry-run"), DryRun, {"limit": limit})
    if as_json:
        output.print_json(found)
    else:
        _print_dry_run(found)


@app.command("due")
def due(
    *,
    days: Annotated[int, typer.Option(min=1, max=366, help="How far ahead to look.")] = 30,
    schedule: Annotated[str | None, typer.Option(help="Only of this one.", show_default=False)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List when schedules of mail come due, the next ones first."""
    with connect() as api:
        page = api.get((ALL, DUE), Page[DueView], days=days, schedule=schedule, limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    rows = ((output.moment(each.tick), output.printable(each.schedule), each.query) for each in page.items)
    output.stdout().print(output.listing(("at (UTC)", "schedule", "query"), rows))
    output.print_more(page.next_cursor, len(page.items))


def _given(*, option: list[str] | None, **values: Any) -> dict[str, Any]:
    given = {name: value for name, value in values.items() if value is not None}
    return given if option is None else given | {"options": dict(map(_pair, option))}


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return name, read_value(value, f"--option {text}")


def _decide(api: Api, name: str, verb: str, reason: str) -> ScheduleDetail:
    return api.post((ALL, name, verb), ScheduleDetail, {"reason": reason})


def _row(each: ScheduleView) -> tuple[str | Text, ...]:
    return (
        output.printable(each.name),
        output.printable(each.cron) + ("" if each.zone == "UTC" else f" {output.printable(each.zone)}"),
        output.printable(each.query or each.actor),
        Text("yes", style="green") if each.enabled and not each.retired_at else Text("no", style="yellow"),
        output.brief(each.next_tick) if each.next_tick else output.NOTHING,
        _came_to(each.last) if each.last else output.NOTHING,
    )


def _came_to(tick: TickView) -> str:
    """What a tick has come to, in a few words."""
    if tick.note or tick.reason:
        return output.printable(tick.note or tick.reason or "")
    if tick.finished_at is None:
        return output.words(tick.status) + (f", sent again {tick.resent} times" if tick.resent else "")
    return f"{tick.mails:,} mails" + (f", {tick.skipped:,} skipped" if tick.skipped else "")


def _declared(each: ScheduleView) -> str:
    if each.edited:
        return "in code, and changed by an operator (`reset` undoes that)"
    return "in code" if each.fixed else "by an operator"


def _tell(detail: ScheduleDetail, *, as_json: bool) -> None:
    if as_json:
        output.print_json(detail)
        return
    each = detail.schedule
    pairs = [
        ("when", f"{output.printable(each.cron)}, {output.printable(each.zone)}"),
        ("does", output.printable(each.query or each.actor)),
        *([("template", output.printable(each.template))] if each.template else []),
        *((output.printable(name), output.shown(value)) for name, value in each.options.items()),
        ("late ticks", output.words(each.catch_up)),
        ("declared", _declared(each)),
        ("on", "yes" if each.enabled and not each.retired_at else "no"),
        ("next (UTC)", ", ".join(output.moment(tick) for tick in detail.next_ticks) or output.NOTHING),
    ]
    console = output.stdout()
    console.print(output.facts(pairs))
    print()
    columns = ("tick (UTC)", "fired by", "status", "came to")
    console.print(output.listing(columns, map(_tick_row, detail.last_ticks)))


def _tick_row(tick: TickView) -> tuple[str | Text, ...]:
    by = output.printable(tick.triggered_by) if tick.triggered_by else "the clock"
    return output.moment(tick.tick), by, output.state(tick.status), _came_to(tick)


def _print_dry_run(found: DryRun) -> None:
    columns = ("to", "address", "due (UTC)", "for", "but")
    rows = (
        (
            f"{each.kind} {each.id}",
            output.printable(each.email),
            output.moment(each.due),
            output.printable(each.occasion),
            output.shown(each.blocked),
        )
        for each in found.recipients
    )
    console = output.stdout()
    console.print(output.listing(columns, rows))
    for each in found.skipped:
        console.print(
            f"cannot be written to: {each.kind} {each.id}: {output.printable(f'{each.fault.where} {each.fault.message}')}"
        )
    if found.retries:
        console.print(f"to be tried once more: {len(found.retries):,} mails")
    if found.mail:
        print()
        console.print(output.facts([("subject", output.printable(found.mail.subject))]))
        print()
        output.print_letter(found.mail.text)
    if not found.complete:
        output.stderr().print("there are more: --limit")
    output.stderr().print("nothing was sent")
