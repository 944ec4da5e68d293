"""`astrocore templates`: what mails are written from."""

from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.notify import DataGiven, LocaleGiven, read_data
from app.cli.options import AsJson, Reason, Yes, confirm, group
from app.notifications.ledger.views import MailView
from app.notifications.templates.views import TemplateDetail, TemplateView

app = group("Look at the templates of mails, and stop those that must not go.")

ALL = "notification-templates"
Name = Annotated[str, typer.Argument(help="The template's name.", show_default=False)]


@app.command("list")
def list_templates(as_json: AsJson = False) -> None:
    """List templates."""
    with connect() as api:
        found = api.get((ALL,), list[TemplateView])
    if as_json:
        output.print_json(found)
        return
    rows = (
        (
            output.printable(each.name),
            each.kind.value,
            str(each.current),
            ", ".join(each.locales),
            "yes" if each.enabled else "no",
        )
        for each in found
    )
    columns = ("name", "kind", "version", "languages", "enabled")
    output.stdout().print(output.listing(columns, rows, right=("version",)))


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a template, what data it wants, and its versions."""
    with connect() as api:
        _tell(api.get((ALL, name), TemplateDetail), as_json=as_json)


@app.command("preview")
def preview(
    name: Name,
    *,
    data: DataGiven = None,
    locale: LocaleGiven = None,
    version: Annotated[int | None, typer.Option(help="Default: the current one.", show_default=False)] = None,
    html: Annotated[bool, typer.Option("--html", help="Print its HTML alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a mail as it would be; without --data with the template's sample."""
    options = {"locale": locale, "version": version, "data": read_data(data) if data else None}
    body: dict[str, Any] = {each: value for each, value in options.items() if value is not None}
    with connect() as api:
        mail = api.post((ALL, name, "preview"), MailView, body)
    if as_json:
        output.print_json(mail)
    elif html:
        print(output.printable(mail.html, keep=output.LINE_END))
    else:
        pairs = [("language", mail.locale), ("subject", output.printable(mail.subject))]
        output.stdout().print(output.facts(pairs))
        print()
        output.print_letter(mail.text)


@app.command("disable")
def disable(name: Name, reason: Reason, yes: Yes = False, as_json: AsJson = False) -> None:
    """Let no mail of a template go out, those that wait included."""
    if not yes:
        confirm(
            f"Stop all mail from {name}? What becomes due meanwhile is not sent, unless it is retried afterwards."
        )
    _switch(name, "disable", reason, as_json=as_json)


@app.command("enable")
def enable(name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Let mails of a template go out again."""
    _switch(name, "enable", reason, as_json=as_json)


def _switch(name: str, verb: str, reason: str, *, as_json: bool) -> None:
    with connect() as api:
        _tell(api.post((ALL, name, verb), TemplateDetail, {"reason": reason}), as_json=as_json)


def _tell(detail: TemplateDetail, *, as_json: bool) -> None:
    if as_json:
        output.print_json(detail)
        return
    template = detail.template
    stopped = f"no: {output.printable(template.disabled_because or '')}"
    wanted = detail.content.schema.get("required", [])
    pairs = [
        ("name", output.printable(template.name)),
        ("purpose", output.printable(template.purpose)),
        ("kind", template.kind.value),
        ("enabled", "yes" if template.enabled else stopped),
        ("languages", ", ".join(template.locales)),
        ("needs", ", ".join(map(output.printable, wanted)) or output.NOTHING),
    ]
    console = output.stdout()
    console.print(output.facts(pairs))
    rows = (
        (
            str(each.version),
            "is current" if each.version == template.current else "",
            "shipped" if each.shipped else output.printable(each.made_by),
            output.brief(each.made_at),
        )
        for each in detail.versions
    )
    console.print(output.listing(("version", "", "by", "since"), rows, right=("version",)))
