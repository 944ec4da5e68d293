"""`astrocore migrate`, `doctor` and `config`: what works on the stores and settings themselves."""

import asyncio
import os
import re
import warnings
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from pydantic import SecretStr
from rich.text import Text

from app.cli import output
from app.cli.errors import CommandError
from app.cli.options import AsJson
from config.settings import PREFIX, Settings, read_sources, settings

if TYPE_CHECKING:
    from app.notifications.templates.installing import Installation

HIDDEN = "***"


def migrate(as_json: AsJson = False) -> None:
    """Bring the core DB to the schema that this version needs, and its templates of mails into it."""
    from app.stores.health import POSTGRES_FAULTS

    try:
        with warnings.catch_warnings(action="ignore"):  # Piccolo warns of what it raises a moment later
            applied, templates = asyncio.run(_migrate())
    except POSTGRES_FAULTS as error:
        raise CommandError(
            f"the core DB refused: {error}", f"see {PREFIX}CORE_DATABASE_URL, and `astrocore doctor`"
        ) from error
    if as_json:
        output.print_json({"applied": applied, "templates": templates})
    else:
        lines = [f"applied {name}" for name in applied]
        lines += [f"template {each.template}, version {each.version}: {each.outcome}" for each in templates]
        print("\n".join(lines) or "nothing to apply: the schema is up to date")


async def _migrate() -> "tuple[list[str], list[Installation]]":
    from app.notifications.templates.installing import ensure_shipped
    from app.stores.migrate import migrate as apply

    return await apply(settings()), await ensure_shipped(settings())


def doctor(
    *,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Measure what hashes of passwords cost here instead, and propose a cost."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything that the system needs, and say what to do about what is wrong. Exits 1 if anything is."""
    from app.doctor import doctor as examine

    if calibrate:
        _calibrate(as_json=as_json)
        return
    checks = asyncio.run(examine(settings()))
    if as_json:
        output.print_json(checks)
    else:
        rows = (
            (
                check.name,
                Text("ok", style="green") if check.ok else Text("fails", style="red"),
                output.printable(check.found),
                output.printable(check.advice or ""),
            )
            for check in checks
        )
        output.stdout().print(output.listing(("", "state", "found", "what to do"), rows))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _calibrate(*, as_json: bool) -> None:
    from app.accounts.calibration import propose

    chosen = settings()
    looked, cost = propose(chosen.password_megabytes, os.cpu_count() or 1)
    proposed = {
        f"{PREFIX}PASSWORD_MEMORY_KIB": cost.memory,
        f"{PREFIX}PASSWORD_PASSES": cost.passes,
        f"{PREFIX}PASSWORD_LANES": cost.lanes,
    }
    if as_json:
        output.print_json({"measured": looked, "proposed": proposed})
        return
    rows = (
        (
            f"{each.cost.memory // 1024}",
            str(each.cost.passes),
            str(each.cost.lanes),
            f"{each.seconds * 1000:.0f}",
            f"{each.per_second:.1f}",
        )
        for each in looked
    )
    columns = ("MiB", "passes", "lanes", "ms a hash", "hashes/s")
    output.stdout().print(output.listing(columns, rows, right=columns))
    output.stdout().print(output.facts([(name, str(value)) for name, value in proposed.items()]))
    output.stderr().print("users get the new cost as they sign in; set it where every web process runs")


class Setting(TypedDict):
    """One setting, as `config` tells of it."""

    name: str
    value: str | None
    source: str
    description: str


def config(as_json: AsJson = False) -> None:
    """List every setting: its value, where it comes from, and what it is for. Secrets are hidden."""
    found = list_settings(settings(), {name: source for name, (_, source) in read_sources().items()})
    if as_json:
        output.print_json(found)
        return
    console = output.stdout()
    for each in found:
        value = (
            "not set"
            if each["value"] is None
            else repr(each["value"])
            if not each["value"]
            else each["value"]
        )
        console.print(
            Text.assemble(
                (each["name"], "bold"), f" = {output.printable(value)}  ", (f"[{each['source']}]", "cyan")
            )
        )
        console.print(Text(f"    {each['description']}", style="dim"))


def list_settings(chosen: Settings, sources: dict[str, str]) -> list[Setting]:
    """Every setting there is, with secrets hidden. `sources` tells where the ones come from that are set."""
    return [
        Setting(
            name=PREFIX + name.upper(),
            value=shown(getattr(chosen, name)),
            source=sources.get(PREFIX + name.upper(), "default"),
            description=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def shown(value: object) -> str | None:
    """A setting's value as text. Of a secret that is a URL all is told but its credentials, of others nothing."""
    if isinstance(value, SecretStr):
        return without_credentials(value.get_secret_value())
    return None if value is None else str(value)


def without_credentials(secret: str) -> str:
    """A URL without user, password and query values; anything else is hidden as a whole."""
    scheme, separator, rest = secret.partition("://")
    if not separator:
        return HIDDEN
    # Up to the last @: a password may hold any character, also those that should have been escaped.
    rest = re.sub(r"^.*@", f"{HIDDEN}@", rest, flags=re.DOTALL)
    return f"{scheme}://" + re.sub(
        r"(?i)((?:password|passwd|secret|token|key)[^=&]*=)[^&]*", rf"\1{HIDDEN}", rest
    )
