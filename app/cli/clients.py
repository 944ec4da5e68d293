"""`astrocore clients`: the services that call us."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.accounts.permissions import Scope
from app.accounts.views import ClientView, NewCredential
from app.cli import output
from app.cli.client import Api, connect
from app.cli.errors import CommandError
from app.cli.options import AsJson, Reason, Yes, confirm, group

app = group("Look after the services that call us.")

Name = Annotated[str, typer.Argument(help="The client's name.", show_default=False)]
Scopes = Annotated[
    list[Scope] | None,
    typer.Option("--scope", help="What it may do; may be given several times.", show_default=False),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--public-key",
        metavar="FILE",
        help="Take the public key in this file, a JWK, instead of making a secret.",
        show_default=False,
    ),
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="INSTANT", help="Until when it is good. Default: for ever.", show_default=False
    ),
]


@app.command("list")
def list_clients(as_json: AsJson = False) -> None:
    """List clients."""
    with connect() as api:
        found = api.get(("clients",), list[ClientView])
    if as_json:
        output.print_json(found)
        return
    rows = (
        (
            each.name,
            each.status,
            ", ".join(each.scopes),
            str(sum(not one.revoked_at for one in each.credentials)),
        )
        for each in found
    )
    output.stdout().print(output.listing(("name", "status", "scopes", "credentials"), rows))


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a client with its credentials, and when each was used last."""
    with connect() as api:
        _tell(api.get(("clients", name), ClientView), as_json=as_json)


@app.command("create")
def create(
    name: Name,
    *,
    scope: Scopes = None,
    public_key: Key = None,
    expires: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Add a client and give it a credential. A secret is told this once."""
    key = _key(public_key)
    with connect() as api:
        client = api.post(("clients",), ClientView, {"name": name, "scopes": scope or []})
        try:
            made = _give(api, name, key, expires)
        except CommandError as error:
            raise CommandError(
                f"{name} was added, but has no credential: {error.what}",
                f"`astrocore clients add-credential {name}` gives it one",
            ) from None
    _tell_made(client.name, made, as_json=as_json)


@app.command("add-credential")
def add_credential(
    name: Name, *, public_key: Key = None, expires: Expires = None, as_json: AsJson = False
) -> None:
    """Give a client another credential, beside the one that it has: two may be good at a time."""
    key = _key(public_key)
    with connect() as api:
        made = _give(api, name, key, expires)
    _tell_made(name, made, as_json=as_json)


@app.command("revoke-credential")
def revoke_credential(
    name: Name,
    credential: Annotated[str, typer.Argument(metavar="ID", help="Of the credential.", show_default=False)],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Let a credential be good no more."""
    with connect() as api:
        client = api.delete(("clients", name, "credentials", credential), ClientView, reason=reason)
    _tell(client, as_json=as_json)


@app.command("scopes")
def scopes(
    name: Name,
    reason: Reason,
    scope: Scopes = None,
    no_scopes: Annotated[bool, typer.Option("--no-scopes", help="Take all scopes away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say all that a client may do from now on."""
    if bool(scope) is no_scopes:
        raise typer.BadParameter("give all that it may do by --scope, or --no-scopes")
    with connect() as api:
        client = api.patch(("clients", name), ClientView, {"scopes": scope or [], "reason": reason})
    _tell(client, as_json=as_json)


@app.command("disable")
def disable(name: Name, reason: Reason, yes: Yes = False, as_json: AsJson = False) -> None:
    """Keep a client out. Its tokens are refused at once, and those of users who signed in through it."""
    if not yes:
        confirm(f"Keep {name} out, and everybody who signed in through it?")
    with connect() as api:
        _tell(api.post(("clients", name, "disable"), ClientView, {"reason": reason}), as_json=as_json)


@app.command("enable")
def enable(name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Let a client in again."""
    with connect() as api:
        _tell(api.post(("clients", name, "enable"), ClientView, {"reason": reason}), as_json=as_json)


def _give(api: Api, name: str, key: dict[str, Any] | None, expires: str | None) -> NewCredential:
    given = {"public_key": key, "expires_at": expires}
    body = {each: value for each, value in given.items() if value is not None}
    return api.post(("clients", name, "credentials"), NewCredential, body)


def _key(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        key = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{file} holds no JWK: {error}", "it is a JSON object, see RFC 7517") from error
    if not isinstance(key, dict):
        raise CommandError(f"{file} holds no JWK", "it is a JSON object, see RFC 7517")
    return key


def _tell_made(name: str, made: NewCredential, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"client": name, "credential": made.credential, "secret": made.secret})
        return
    pairs = [("client", name), ("credential", str(made.credential.id))]
    if made.secret:
        pairs.append(("secret", made.secret))
    output.stdout().print(output.facts(pairs))
    if made.secret:
        output.stderr().print("the secret is told this once: keep it where secrets are kept")


def _tell(client: ClientView, *, as_json: bool) -> None:
    if as_json:
        output.print_json(client)
    else:
        _print(client, output.stdout())


def _print(client: ClientView, console: Console) -> None:
    pairs = [
        ("name", client.name),
        ("status", client.status),
        ("scopes", ", ".join(client.scopes) or output.NOTHING),
        ("made by", output.printable(client.created_by)),
    ]
    console.print(output.facts(pairs))
    columns = ("credential", "kind", "since", "last used", "until", "state")
    rows = (
        (
            str(each.id),
            each.kind,
            output.brief(each.created_at),
            output.brief(each.last_used_at) if each.last_used_at else output.NOTHING,
            output.brief(each.expires_at) if each.expires_at else "for ever",
            "revoked" if each.revoked_at else "good",
        )
        for each in client.credentials
    )
    console.print(output.listing(columns, rows))
