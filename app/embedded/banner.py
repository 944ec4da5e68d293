"""What the operator sees once the system is ready."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from app.embedded.operator import Operator
from config.settings import DATA_DIR_DEFAULT, PREFIX

WIDTH = 72
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  (read, not bound)


def web_url(values: Mapping[str, str]) -> str:
    """Where the web process is reached from this machine."""
    host = values[f"{PREFIX}WEB_HOST"]
    host = EVERY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{values[f'{PREFIX}WEB_PORT']}"


def banner(data_dir: Path, values: Mapping[str, str], operator: Operator | None) -> str:
    """URLs, who may sign in to the console, and what to try next."""
    url = web_url(values)
    facts = {
        "console": f"{url}/console",
        **_sign_in(operator),
        "API": f"{url}/v1",
        "API reference": f"{url}/schema",
        "core DB": without_password(values[f"{PREFIX}CORE_DATABASE_URL"]),
        "admin DB": without_password(values[f"{PREFIX}ADMIN_DATABASE_URL"]),
        "customer DB": without_password(values[f"{PREFIX}CUSTOMER_DATABASE_URL"]),
        "data directory": str(data_dir),
    }
    rule = "─" * WIDTH
    lines = ["", rule, "AstroBookings Core is ready", ""]
    lines += [f"  {name:<15}{value}" for name, value in facts.items()]
    lines += ["", "Try next, in another terminal:", ""]
    lines += [f"  {command}" for command in _commands(data_dir, values)]
    return "\n".join([*lines, rule, ""])


def _sign_in(operator: Operator | None) -> dict[str, str]:
    if operator is None:
        return {}
    return {"sign in as": operator.email, "password": operator.password or "the one that it was changed to"}


def _commands(data_dir: Path, values: Mapping[str, str]) -> list[str]:
    beside = data_dir == Path(DATA_DIR_DEFAULT).resolve()
    prefix = "" if beside else f"{PREFIX}DATA_DIR={shlex.quote(os.fspath(data_dir))} "
    program = shlex.quote(_program())
    commands = [f"{prefix}{program} {words}" for words in ("runs", "diffs --status in_review", "doctor")]
    token = f"$({prefix}{program} token)"
    return [*commands, f'curl -H "Authorization: Bearer {token}" {web_url(values)}/v1/reconciliation/runs']


def _program() -> str:
    """How this program was called, so that the advice can be pasted: by its path unless a shell finds it."""
    called = Path(sys.argv[0])
    return (
        os.fspath(called)
        if called.name == "astrocore" and called != Path(shutil.which("astrocore") or "")
        else "astrocore"
    )


def without_password(url: str) -> str:
    """A URL that may be shown."""
    return re.sub(r"(?<=://)([^:@/]*):[^@/]*@", r"\1:***@", url)
