"""The operator whom an embedded system makes, so that somebody can sign in to its console at once."""

import secrets
from dataclasses import dataclass

from app.embedded.directory import DataDirectory, write_private
from config.settings import Settings

EMAIL = "operator@astrobookings.test"
FILE = "operator-password"
_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"  # none is mistaken for another
_GROUPS, _GROUP = 4, 5  # some 98 bits


@dataclass(frozen=True)
class Operator:
    """Who may sign in. `password` is None once it is another one than was drawn here."""

    email: str
    password: str | None


async def ensure(settings: Settings, directory: DataDirectory) -> Operator:
    """See that there is an operator.

    The password is drawn once. It lies in a file of its own and not in `env`, for no process of the system needs it.
    """
    from app.accounts.bootstrap import ensure_operator

    password = _password(directory)
    right = await ensure_operator(settings, EMAIL, password)
    return Operator(EMAIL, password if right else None)


def _password(directory: DataDirectory) -> str:
    file = directory.path / FILE
    if not file.exists():
        groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
        write_private(file, "-".join(groups))
    return file.read_text()
