"""`astrocore notify`: have a mail sent."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.errors import CommandError
from app.cli.options import AsJson
from app.notifications.ledger.views import Placed, Preview
from app.notifications.templates.views import TemplateDetail

STDIN = "-"
_SHOWN = 100
DataGiven = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="FILE|KEY=VALUE",
        help="With what it is filled: a file of JSON, - for standard input, or a value such as booking.seats=2; may be given several "
        'times. A text that looks like JSON needs its quotes: booking.reference="42".',
        show_default=False,
    ),
]
LocaleGiven = Annotated[
    str | None, typer.Option("--locale", help="Language, such as es or es-MX.", show_default=False)
]


def notify(
    template: Annotated[str, typer.Argument(help="Its name: `astrocore templates`.", show_default=False)],
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="To an address.", show_default=False)
    ] = None,
    customer: Annotated[UUID | None, typer.Option(help="To a customer, by id.", show_default=False)] = None,
    supplier: Annotated[UUID | None, typer.Option(help="To a supplier, by id.", show_default=False)] = None,
    data: DataGiven = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Fill it with the template's sample; --data goes over that.")
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="INSTANT",
            help="When, as 2027-03-14T16:30:00[Europe/Madrid] or with an offset. Default: now.",
            show_default=False,
        ),
    ] = None,
    not_after: Annotated[
        str | None,
        typer.Option("--not-after", metavar="INSTANT", help="When it is too late.", show_default=False),
    ] = None,
    locale: LocaleGiven = None,
    priority: Annotated[
        int | None, typer.Option(min=1, max=5, help="1 goes first.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Repeated under one key, it is sent once. Default: a new one.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show the mail, and send nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have a mail sent to one recipient; `astrocore notifications show` tells what becomes of it."""
    recipient = {"email": to, "customer": customer, "supplier": supplier}
    given = {name: str(value) for name, value in recipient.items() if value is not None}
    if len(given) != 1:
        raise typer.BadParameter("say to whom by one of --to, --customer and --supplier")
    options = {"send_at": at, "not_after": not_after, "locale": locale, "priority": priority}
    body: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    body |= {"template": template, "recipients": [given]}
    with connect() as api:
        filled = (
            api.get(("notification-templates", template), TemplateDetail).content.sample if sample else {}
        )
        body["data"] = read_data(data or [], over=filled)
        if dry_run:
            _print_preview(api.post(("notifications", "preview"), Preview, body), as_json=as_json)
        else:
            _print_placed(
                api.post(("notifications",), Placed, body, key=str(uuid4()) if key is None else key),
                as_json=as_json,
            )


def read_data(given: list[str], *, over: dict[str, Any] | None = None) -> dict[str, Any]:
    """What all that is given comes to, the later over the earlier, and all of it over that; raises CommandError."""
    data: dict[str, Any] = dict(over or {})
    for each in given:
        name, equals, value = each.partition("=")
        if equals:
            _set(data, name.split("."), read_value(value, f"--data {each}"), each)
        else:
            data |= _read(each)
    return data


def read_value(text: str, given: str) -> Any:
    """What is typed as a value: JSON, or else a text. Raises CommandError, which tells what was given."""
    value: Any = text
    with suppress(ValueError):
        value = _decoded(text, given)
    _check(value, given)
    return value


def _check(value: Any, given: str) -> None:
    """Refuse what JSON or UTF-8 has no word for, 1e999 say, or half of a surrogate pair."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise _unfit(given, error) from error


def _unfit(given: str, error: Exception) -> CommandError:
    return CommandError(
        f"{output.printable(given[:_SHOWN])} cannot be sent: {error}",
        "a value is JSON, or else a text in UTF-8",
    )


def _set(data: dict[str, Any], path: list[str], value: Any, given: str) -> None:
    *outer, last = path
    for part in outer:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise CommandError(f"--data {given}: {part} has a value already, and nothing below it")
    data[last] = value


def _decoded(text: str, given: str) -> Any:
    """Raises ValueError for what is no JSON, as NaN; CommandError for what is too deep."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except RecursionError as error:
        raise _unfit(given, error) from error


def _no_json(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _read(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == STDIN else Path(name).read_text(encoding="utf-8")
        data = _decoded(text, f"--data {name}")
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{name} holds no data: {error}", "--data takes a JSON file, or KEY=VALUE"
        ) from error
    if not isinstance(data, dict):
        raise CommandError(f"{name} holds no data", "it is a JSON object, as the template's schema wants it")
    _check(data, f"--data {name}")
    return data


def _print_placed(placed: Placed, *, as_json: bool) -> None:
    if as_json:
        output.print_json(placed)
        return
    (notification,) = placed.notifications
    pairs = [("notification", str(notification)), ("batch", str(placed.batch))]
    output.stdout().print(output.facts(pairs))
    output.stderr().print(f"`astrocore notifications show {notification}` tells what becomes of it")


def _print_preview(preview: Preview, *, as_json: bool) -> None:
    if as_json:
        output.print_json(preview)
        return
    pairs = [
        ("template", f"{output.printable(preview.template)}, version {preview.version}"),
        ("language", preview.mail.locale),
        ("goes", output.moment(preview.send_at) if preview.send_at else "now"),
        ("not after", output.moment(preview.not_after)),
        ("subject", output.printable(preview.mail.subject)),
    ]
    output.stdout().print(output.facts(pairs))
    print()
    output.print_letter(preview.mail.text)
    for each in preview.blocked:
        output.stderr().print(f"it would not go: {output.printable(each.message)}")
    output.stderr().print("nothing was sent")
