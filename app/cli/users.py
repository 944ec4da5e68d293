"""`astrocore users`: who may sign in."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from app.accounts.permissions import Role
from app.accounts.views import SessionView, Status, UserView
from app.cli import output
from app.cli.client import connect, every
from app.cli.errors import CommandError
from app.cli.options import AsJson, Cursor, Limit, Reason, Yes, confirm, group
from app.pages import Page
from config.settings import PREFIX, settings

if TYPE_CHECKING:
    from app.accounts.bootstrap import FirstAdmin

app = group("Look after those who may sign in.")

COLUMNS = ("id", "user", "roles", "status", "2nd factor", "since")

Who = Annotated[str, typer.Argument(metavar="ID|EMAIL", help="The user.", show_default=False)]
Email = Annotated[str, typer.Argument(help="The address.", show_default=False)]
GivenName = Annotated[str, typer.Option(help="First names.")]
FamilyName = Annotated[str, typer.Option(help="Last name.")]
Locale = Annotated[
    str | None,
    typer.Option(
        help="The language of their mails, such as es or es-MX; English otherwise.", show_default=False
    ),
]
Roles = Annotated[
    list[Role] | None, typer.Option("--role", help="May be given several times.", show_default=False)
]


@app.command("list")
def list_users(
    *,
    email: Annotated[str | None, typer.Option(help="Only with this address.", show_default=False)] = None,
    role: Annotated[Role | None, typer.Option(help="Only with this role.", show_default=False)] = None,
    status: Annotated[Status | None, typer.Option(help="Only with this status.", show_default=False)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List users, the latest first."""
    with connect() as api:
        page = api.get(
            ("users",), Page[UserView], email=email, role=role, status=status, limit=limit, cursor=cursor
        )
    if as_json:
        output.print_json(page)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, page.items)))
    output.print_more(page.next_cursor, len(page.items))


@app.command("show")
def show(who: Who, as_json: AsJson = False) -> None:
    """Show a user, and where they are signed in."""
    with connect() as api:
        user = api.get(("users", str(_found(api, who))), UserView)
        sessions = api.get(("users", str(user.id), "sessions"), list[SessionView])
    if as_json:
        output.print_json({"user": user, "sessions": sessions})
        return
    console = output.stdout()
    _print(user, console)
    columns = ("signed in through", "from", "device", "since", "last used")
    if sessions:
        console.print(output.listing(columns, map(_session_row, sessions)))


@app.command("create")
def create(
    email: Email,
    *,
    role: Roles = None,
    given_name: GivenName = "",
    family_name: FamilyName = "",
    locale: Locale = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password, instead of sending a link to set one.")
    ] = False,
    bootstrap: Annotated[
        bool,
        typer.Option(
            "--bootstrap",
            help="Make the first admin, straight in the core DB: only while there is none. Asks for a password.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add a user. Without --password a link is sent to the address, by which they set one."""
    if bootstrap and role:
        raise typer.BadParameter("--role and --bootstrap contradict each other: the first user is an admin")
    body: dict[str, Any] = {"email": email, "given_name": given_name, "family_name": family_name}
    if locale is not None:
        body["locale"] = locale
    if password or bootstrap:
        body["password"] = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if bootstrap:
        _tell_first(asyncio.run(_bootstrap(body)), as_json=as_json)
        return
    with connect() as api:
        user = api.post(("users",), UserView, body | {"roles": role or []})
    _tell(user, as_json)


@app.command("change")
def change(
    who: Who,
    *,
    role: Roles = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="Take all roles away.")] = False,
    email: Annotated[str | None, typer.Option(help="Another address.", show_default=False)] = None,
    given_name: Annotated[str | None, typer.Option(help="First names.", show_default=False)] = None,
    family_name: Annotated[str | None, typer.Option(help="Last name.", show_default=False)] = None,
    locale: Locale = None,
    as_json: AsJson = False,
) -> None:
    """Change a user; what is not given stays. --role gives all the roles that they have from now on."""
    given = {"email": email, "given_name": given_name, "family_name": family_name, "locale": locale}
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if role and no_roles:
        raise typer.BadParameter("--role and --no-roles contradict each other")
    if role or no_roles:
        body["roles"] = role or []
    if not body:
        raise typer.BadParameter(
            "nothing is to be changed; --role, --email, --given-name, --family-name or --locale"
        )
    with connect() as api:
        user = api.patch(("users", str(_found(api, who))), UserView, body)
    _tell(user, as_json)


@app.command("lock")
def lock(who: Who, reason: Reason, as_json: AsJson = False) -> None:
    """Lock a user out, and sign them out everywhere."""
    _move("lock", who, reason, as_json=as_json)


@app.command("unlock")
def unlock(who: Who, reason: Reason, as_json: AsJson = False) -> None:
    """Let a locked or disabled user in again, and forget their wrong tries."""
    _move("unlock", who, reason, as_json=as_json)


@app.command("disable")
def disable(who: Who, reason: Reason, as_json: AsJson = False) -> None:
    """Disable a user, and sign them out everywhere."""
    _move("disable", who, reason, as_json=as_json)


@app.command("allow")
def allow(who: Who, reason: Reason, as_json: AsJson = False) -> None:
    """Forget a user's wrong tries, so that they may try to sign in again."""
    with connect() as api:
        user = _found(api, who)
        api.send(("users", str(user), "allow-sign-in"), {"reason": reason})
    _say("their wrong tries are forgotten", user, as_json=as_json)


@app.command("reset")
def reset(who: Who, as_json: AsJson = False) -> None:
    """Send a user a link by which they set a new password; the one they have stays good until then."""
    with connect() as api:
        user = _found(api, who)
        api.send(("users", str(user), "password-reset"), {})
    _say("a link is on its way to their address; it is good for ten minutes", user, as_json=as_json)


@app.command("delete")
def delete(who: Who, reason: Reason, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove a user's personal data and everything that lets them in; only the id stays. There is no way back."""
    with connect() as api:
        user = api.get(("users", str(_found(api, who))), UserView)
        if not yes:
            confirm(f"Delete {user.email} ({user.id}) for good?")
        api.delete(("users", str(user.id)), reason=reason)
    _say(f"deleted {user.id}", user.id, as_json=as_json)


def _move(verb: str, who: str, reason: str, *, as_json: bool) -> None:
    with connect() as api:
        user = api.post(("users", str(_found(api, who)), verb), UserView, {"reason": reason})
    _tell(user, as_json)


def _tell_first(made: "FirstAdmin", *, as_json: bool) -> None:
    if as_json:
        output.print_json(made)
        return
    _print(made.user, output.stdout())
    if made.secret:
        lines = [(f"{PREFIX}CLIENT_ID", made.client), (f"{PREFIX}CLIENT_SECRET", made.secret)]
        output.stdout().print(output.facts(lines))
        output.stderr().print(
            "set these two for the commands, then `astrocore login`; the secret is told this once, and may do everything"
        )


async def _bootstrap(body: dict[str, Any]) -> "FirstAdmin":
    from app.accounts.bootstrap import first_admin
    from app.accounts.users import Profile
    from app.stores.connections import open_stores

    password = body.pop("password")
    async with open_stores(settings()) as stores:
        return await first_admin(stores, Profile(**body, roles=[Role.ADMIN]), password)


def _found(api: Any, who: str) -> UUID:
    try:
        return UUID(who)
    except ValueError:
        pass
    for user in every(api, ("users",), UserView, email=who):
        return user.id
    raise CommandError(f"no user has the address {who}", "`astrocore users` lists them")


def _say(line: str, user: UUID, *, as_json: bool) -> None:
    """What was done to a user of whom nothing is to be shown."""
    if as_json:
        output.print_json({"id": user})
    else:
        print(line)


def _tell(user: UserView, as_json: bool) -> None:
    if as_json:
        output.print_json(user)
    else:
        _print(user, output.stdout())


def _print(user: UserView, console: Console) -> None:
    verified = output.moment(user.email_verified_at) if user.email_verified_at else "not yet"
    pairs = [
        ("id", str(user.id)),
        ("e-mail", output.printable(user.email or output.NOTHING)),
        ("verified", verified),
        ("name", output.printable(_name(user)) or output.NOTHING),
        ("language", user.locale or "en"),
        ("roles", ", ".join(user.roles) or output.NOTHING),
        ("status", str(user.status)),
        ("second factor", "yes" if user.second_factor else "no"),
        ("since", output.moment(user.created_at)),
    ]
    console.print(output.facts(pairs))


def _row(user: UserView) -> tuple[Any, ...]:
    return (
        str(user.id),
        # One below the other: side by side there is no room for an address that can be copied.
        f"{output.printable(user.email or output.NOTHING)}\n{output.printable(_name(user))}".rstrip(),
        ", ".join(user.roles),
        str(user.status),
        "yes" if user.second_factor else "no",
        output.brief(user.created_at),
    )


def _session_row(session: SessionView) -> tuple[Any, ...]:
    return (
        session.client,
        session.client_ip or output.NOTHING,
        output.printable(session.device or output.NOTHING),
        output.brief(session.created_at),
        output.brief(session.used_at),
    )


def _name(user: UserView) -> str:
    return f"{user.given_name} {user.family_name}".strip()
