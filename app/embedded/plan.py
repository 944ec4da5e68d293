"""What a start will use: which stores are embedded, on which ports, with which secrets."""

import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.accounts.secrets import SECRET_PREFIX, new_secret
from app.audit.rights import RETENTION, SERVICE
from app.audit.sealing.keys import public_key_of
from app.embedded.banner import without_password
from app.embedded.errors import EmbeddedError
from app.embedded.mailbox import FOLDER as MAILBOX
from app.embedded.ports import free_port, is_free
from config.settings import (
    AUDIT_KEY_BYTES,
    DATA_DIR_DEFAULT,
    PREFIX,
    STORE_URLS,
    parse_settings,
    read_sources,
)

WEB_PORT_DEFAULT = 8080
CLIENT = "astrocore"
"""The client as which the commands call a system that runs here."""
PASSWORD_BYTES = 24
FOREIGN_DATABASES = {"admin_database_url", "customer_database_url"}

# Setting -> the server that stands in for it, and the URL of that server.
EMBEDDED_URLS = {
    "core_database_url": ("postgresql", "postgresql://postgres@127.0.0.1:{port}/core"),
    "admin_database_url": ("postgresql", "postgresql://postgres@127.0.0.1:{port}/admin"),
    "customer_database_url": ("secantus", "mongodb://127.0.0.1:{port}/customer?replicaSet=secantus"),
    "broker_url": ("broker", "redis://127.0.0.1:{port}/0"),
    "audit_url": ("audit", f"redis://{SERVICE}:{{password}}@127.0.0.1:{{port}}/0"),
    "logs_url": ("logs", "redis://127.0.0.1:{port}/0"),
}
# Only the worker seals and removes what is archived.
WORKER = "worker"
FOR_THE_WORKER = frozenset({f"{PREFIX}AUDIT_SIGNING_KEY", f"{PREFIX}AUDIT_RETENTION_URL"})
KEYS = frozenset({f"{PREFIX}PASSWORD_PEPPERS", f"{PREFIX}ENCRYPTION_KEYS"})
MAIL_SECRETS = frozenset(
    f"{PREFIX}NOTIFICATION_{name}" for name in ("HTTP_TOKEN", "SMTP_PASSWORD", "CALLBACK_SECRETS")
)
RETENTION_URL = f"redis://{RETENTION}:{{password}}@127.0.0.1:{{port}}/0"


# The mail server that stands in for the external notification service.
SMTP = f"{PREFIX}NOTIFICATION_SMTP_"
MAIL_HOST = "127.0.0.1"
SENDER = "AstroBookings <no-reply@astrobookings.example>"

# A minute of simulated traffic changes more of a small demo than an hour of real traffic changes of a real database.
ROOM_TO_PLAY = {f"{PREFIX}BREAKER_CHANGE_FLOOR": "20000", f"{PREFIX}BREAKER_DELETE_FLOOR": "200"}


@dataclass(frozen=True)
class Plan:
    """The values of every setting of the system, the port of each server to start, the settings those stand in for."""

    values: Mapping[str, str]
    ports: Mapping[str, int]
    embedded: frozenset[str]
    own_client: bool
    """Whether the commands' client is one that this system makes."""

    @property
    def owns_foreign_databases(self) -> bool:
        """Whether the admin DB and the customer DB are both embedded."""
        return self.embedded >= FOREIGN_DATABASES

    @property
    def makes_operator(self) -> bool:
        """Whether an operator is made: only in a core DB of our own, of a system that claims to be no other."""
        return "core_database_url" in self.embedded and self.values[f"{PREFIX}ENVIRONMENT"] == "embedded"

    @property
    def audit_passwords(self) -> dict[str, str]:
        """The users of the embedded audit store, with their passwords."""
        urls = (urlsplit(self.values[f"{PREFIX}{name}"]) for name in ("AUDIT_URL", "AUDIT_RETENTION_URL"))
        return {url.username or "": url.password or "" for url in urls}

    def values_of(self, process: str) -> dict[str, str]:
        """The settings of one process. Those that only the worker needs are empty elsewhere, and so not set.

        But production asks every process for them.
        """
        if process == WORKER or self.values[f"{PREFIX}ENVIRONMENT"] == "production":
            return dict(self.values)
        return dict(self.values) | dict.fromkeys(FOR_THE_WORKER, "")

    def told(self) -> dict[str, str]:
        """The settings as they may be shown: without keys, and URLs without their passwords."""
        hidden = FOR_THE_WORKER | KEYS | MAIL_SECRETS
        shown = {name: value for name, value in self.values.items() if name not in hidden}
        return {name: without_password(value) for name, value in shown.items()}


def given_values(environ: Mapping[str, str]) -> dict[str, str]:
    """What the operator has set, in the environment or in `.env`: not what an earlier run has left.

    The data directory is not among it: it is where the answer is kept.
    """
    own_file = str(data_dir(environ) / "env")
    found = read_sources(environ).items()
    given = {name: value for name, (value, source) in found if source != own_file and value != ""}
    given.pop(f"{PREFIX}DATA_DIR", None)
    return given


def data_dir(environ: Mapping[str, str]) -> Path:
    value, _source = read_sources(environ).get(PREFIX + "DATA_DIR", (DATA_DIR_DEFAULT, "default"))
    return Path(value or DATA_DIR_DEFAULT)


def make_plan(given: Mapping[str, str], remembered: Mapping[str, str], *, web_port: int | None) -> Plan:
    """Settle every value: given ones win, then those of the last run where they are still free, then new ones.

    `web_port` is preferred for a first start. Raises EmbeddedError where a given web port is in use.
    """
    values = {f"{PREFIX}ENVIRONMENT": "embedded", **ROOM_TO_PLAY, **given}
    ports: dict[str, int] = {}
    embedded = [name for name in STORE_URLS if PREFIX + name.upper() not in given]
    for name in embedded:
        variable, (server, url) = PREFIX + name.upper(), EMBEDDED_URLS[name]
        if server not in ports:
            ports[server] = _store_port(remembered.get(variable, ""), url, set(ports.values()))
        values[variable] = _url(url, ports[server], remembered.get(variable, ""))
    if "audit" in ports:
        variable = f"{PREFIX}AUDIT_RETENTION_URL"
        if variable in given:
            raise EmbeddedError(f"{variable} goes with {PREFIX}AUDIT_URL, which is not set")
        values[variable] = _url(RETENTION_URL, ports["audit"], remembered.get(variable, ""))
    _settle_mail(values, given, remembered, ports)
    _settle_client(values, remembered)
    _settle_named_keys(values, remembered)
    _settle_audit_keys(values, remembered)
    values.setdefault(f"{PREFIX}WEB_HOST", "127.0.0.1")
    values[f"{PREFIX}WEB_PORT"] = str(_web_port(values, remembered, web_port, set(ports.values())))
    return Plan(values, ports, frozenset(embedded), own_client=f"{PREFIX}CLIENT_ID" not in given)


def _settle_mail(
    values: dict[str, str], given: Mapping[str, str], remembered: Mapping[str, str], ports: dict[str, int]
) -> None:
    """A mail server of our own, unless it is said where mail goes."""
    values.setdefault(f"{PREFIX}NOTIFICATION_FROM", SENDER)
    if f"{SMTP}HOST" in given or given.get(f"{PREFIX}NOTIFICATION_TRANSPORT") == "http":
        return
    if lonely := sorted(name for name in given if name.startswith(SMTP)):
        raise EmbeddedError(f"{lonely[0]} goes with {SMTP}HOST, which is not set")
    ours = remembered.get(f"{SMTP}HOST") == MAIL_HOST
    port = int(remembered.get(f"{SMTP}PORT", 0)) if ours else 0
    taken = set(ports.values())
    ports[MAILBOX] = port if port and port not in taken and is_free(port) else free_port(taken)
    values |= {f"{SMTP}HOST": MAIL_HOST, f"{SMTP}PORT": str(ports[MAILBOX]), f"{SMTP}TLS": "none"}


def _settle_client(values: dict[str, str], remembered: Mapping[str, str]) -> None:
    """A client for the commands, with a secret that is drawn once, unless one is given."""
    name, secret = f"{PREFIX}CLIENT_ID", f"{PREFIX}CLIENT_SECRET"
    if name not in values:
        values[name] = CLIENT
        values[secret] = remembered.get(secret) or new_secret(SECRET_PREFIX)


def _settle_named_keys(values: dict[str, str], remembered: Mapping[str, str]) -> None:
    """What passwords are hashed and secrets encrypted with, drawn once unless it is given."""
    for name in (f"{PREFIX}PASSWORD_PEPPERS", f"{PREFIX}ENCRYPTION_KEYS"):
        drawn = b64encode(secrets.token_bytes(AUDIT_KEY_BYTES)).decode()
        values.setdefault(name, remembered.get(name) or f"first:{drawn}")


def _settle_audit_keys(values: dict[str, str], remembered: Mapping[str, str]) -> None:
    """The key that seals the audit store, made once, and the public keys of this and all earlier ones."""
    signing, public = f"{PREFIX}AUDIT_SIGNING_KEY", f"{PREFIX}AUDIT_PUBLIC_KEYS"
    values.setdefault(
        signing, remembered.get(signing) or b64encode(secrets.token_bytes(AUDIT_KEY_BYTES)).decode()
    )
    parse_settings({signing: values[signing]})  # one that is no key is told here
    known = (remembered.get(public, ""), public_key_of(values[signing]))
    values.setdefault(
        public, ",".join(dict.fromkeys(key for each in known for key in each.split(",") if key))
    )


def _url(url: str, port: int, remembered_url: str) -> str:
    """The URL of an embedded store; a password in it is drawn once."""
    match = _match(remembered_url, url)
    password = match["password"] if match and "password" in match.groupdict() else ""
    return url.format(port=port, password=password or secrets.token_urlsafe(PASSWORD_BYTES))


def _store_port(remembered_url: str, url: str, taken: set[int]) -> int:
    match = _match(remembered_url, url)
    if match and int(match["port"]) not in taken and is_free(int(match["port"])):
        return int(match["port"])
    return free_port(taken)


def _match(remembered_url: str, url: str) -> re.Match[str] | None:
    pattern = re.escape(url)
    for name, value in (("port", r"\d+"), ("password", r"[\w-]+")):
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{value})")
    return re.fullmatch(pattern, remembered_url)


def _web_port(
    values: Mapping[str, str], remembered: Mapping[str, str], preferred: int | None, taken: set[int]
) -> int:
    variable, host = f"{PREFIX}WEB_PORT", values[f"{PREFIX}WEB_HOST"]
    if variable in values:
        port = parse_settings({variable: values[variable]}).web_port
        if not is_free(port, host):
            raise EmbeddedError(
                f"port {port} on {host}, set by {variable}, is in use or cannot be listened on"
            )
        return port
    for port in (int(remembered.get(variable) or 0), preferred or 0):
        if port and port not in taken and is_free(port, host):
            return port
    return free_port(taken)
