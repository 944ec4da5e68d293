"""Settings of every process, read once from the environment.

A value is looked for in this order: the process environment, a `.env` file in the working directory, the
`env` file that a running embedded system leaves in its data directory, the default. Names are the field
names in upper case with the prefix ``ASTROCORE_``.
"""

import difflib
import os
from base64 import b64decode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from config.hosts import is_origin, is_private_way
from config.mail_rules import MAIL_NEEDS, fault_of_mail

PREFIX = "ASTROCORE_"
DATA_DIR_DEFAULT = ".astrocore"

Environment = Literal["embedded", "development", "production"]


class SettingsError(Exception):
    """A setting is unknown, missing or invalid; the message names it and what to do."""


class Settings(BaseModel):
    """Every setting, typed. URLs of stores have no default: without them there is no running system to find."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Environment = Field(
        "production",
        description="embedded, development or production. Operators need no second factor, and cookies no TLS, in an embedded "
        "system alone; production starts with secrets and an issuer of its own, and not without",
    )
    data_dir: Path = Field(
        Path(DATA_DIR_DEFAULT), description="where embedded stores and the env file of a running system live"
    )

    core_database_url: SecretStr | None = Field(
        None, description="core DB, postgresql://user:password@host:port/name"
    )
    admin_database_url: SecretStr | None = Field(
        None, description="admin DB, postgresql://user:password@host:port/name"
    )
    customer_database_url: SecretStr | None = Field(
        None, description="customer DB, mongodb://host:port/name?replicaSet=…"
    )
    broker_url: SecretStr | None = Field(
        None, description="Redis or Valkey that carries messages, redis://host:port/0"
    )
    audit_url: SecretStr | None = Field(
        None, description="Redis or Valkey of the audit store (AOF always, noeviction)"
    )
    audit_retention_url: SecretStr | None = Field(
        None,
        description="the audit store again, as the user that may remove entries once they are archived: "
        "the one of audit_url may not",
    )
    logs_url: SecretStr | None = Field(None, description="Redis or Valkey of the log store (AOF everysec)")
    namespace: str = Field(
        "astrocore",
        pattern=r"^[a-z][a-z0-9_-]{0,40}$",
        description="prefix of every Redis key, so that several systems can share a store",
    )

    web_host: str = Field("127.0.0.1", description="address the web process listens on")
    web_port: int = Field(8080, ge=1, le=65535, description="port the web process listens on")
    client_id: str = Field("", description="service client as which `astrocore` commands call the API")
    client_secret: SecretStr | None = Field(
        None, description="its secret; `astrocore login` adds who you are"
    )

    audit_signing_key: SecretStr | None = Field(
        None,
        description="Ed25519 key that seals the audit store: 32 random bytes in base64 (openssl rand -base64 32)",
    )
    audit_public_keys: str = Field(
        "",
        description="keys whose seals are trusted, in base64, comma-separated: that of the signing key "
        "(`astrocore audit public-key` tells it) and those of earlier ones",
    )
    audit_days: int = Field(180, ge=1, description="days after which sealed audit entries move to archives")
    audit_megabytes: int = Field(
        2048,
        ge=16,
        description="memory of the audit store beyond which its oldest sealed entries move to archives before their time",
    )
    audit_archive_dir: Path | None = Field(
        None,
        description="where audit archives lie, for the web process and the workers to read; unset: audit-archive below the "
        "data directory",
    )

    issuer: str = Field(
        "",
        description="URL by which the API's users know this service, https://HOST: it stands in every token, and commands call "
        "it; http only on loopback or embedded; default, not in production: http://WEB_HOST:WEB_PORT",
    )
    password_peppers: SecretStr | None = Field(
        None,
        description="keys of 32 bytes in base64, under which passwords are hashed, as NAME:KEY, comma-separated: the first is "
        "for new hashes, the others for older ones (openssl rand -base64 32)",
    )
    encryption_keys: SecretStr | None = Field(
        None,
        description="keys that encrypt the secrets in the core DB: those of second factors and of tokens; given as the peppers are",
    )
    password_memory_kib: int = Field(
        64 * 1024, ge=19 * 1024, description="memory of one hash of a password, in KiB (Argon2id)"
    )
    password_passes: int = Field(3, ge=2, description="passes over that memory")
    password_lanes: int = Field(4, ge=1, le=64, description="lanes, which may be computed side by side")
    password_megabytes: int = Field(
        512,
        ge=64,
        description="memory that hashing passwords may take at once; beyond it callers are told to come again",
    )

    account_link_url: str = Field(
        "",
        description="where links in mails about accounts lead, with {purpose} (reset, verify or change) and {token} in it; "
        "default: ISSUER/console/{purpose}?token={token}",
    )

    sign_in_account_failures: int = Field(
        10,
        ge=1,
        description="wrong tries of one account in five minutes; after three of ten each one doubles the wait",
    )
    sign_in_address_failures: int = Field(
        10, ge=1, description="wrong tries from one IP address in five minutes"
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="proxies in front of us that each add to X-Forwarded-For whom they serve: so many entries from the right is "
        "where who signs in to the console is; 0 where nobody stands in front",
    )
    sign_in_failures: int = Field(1000, ge=1, description="wrong tries of everybody in five minutes")

    notification_transport: Literal["smtp", "http"] = Field(
        "smtp",
        description="the external service that mail is handed over to: a mail server, or one with an HTTP API",
    )
    notification_from: str | None = Field(
        None, description="whom mail is from: an address, or NAME <ADDRESS>"
    )
    notification_http_url: str | None = Field(
        None, description="where mail is posted to; docs/notifications.md has the contract"
    )
    notification_http_token: SecretStr | None = Field(None, description="bearer token of that service")
    notification_http_dedupes: bool = Field(
        True,
        description="whether it takes a mail once however often it is posted under one Idempotency-Key; if not, mail that it "
        "may have taken is not posted again but shown to an operator",
    )
    notification_callback_secrets: SecretStr | None = Field(
        None,
        description="secrets that its callbacks are signed with: one, or two while one replaces the other, comma-separated; at "
        "least 32 characters each",
    )
    notification_smtp_host: str | None = Field(None, description="the mail server")
    notification_smtp_port: int = Field(587, ge=1, le=65535, description="its port")
    notification_smtp_tls: Literal["starttls", "implicit", "none"] = Field(
        "starttls",
        description="how the connection to it is encrypted; none is for a server on this machine",
    )
    notification_smtp_ca_file: Path | None = Field(
        None,
        description="certificates that it is trusted by, a PEM file, instead of those that the system trusts",
    )
    notification_smtp_user: str = Field("", description="user to sign in to it as; empty: nobody signs in")
    notification_smtp_password: SecretStr | None = Field(None, description="that user's password")
    notification_connections: int = Field(
        20, ge=1, le=100, description="connections per process to each external notification service"
    )
    notification_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=60,
        description="longest wait for the service to be ready for a mail, and again for its answer to it",
    )
    notification_per_second: float = Field(
        50.0, gt=0, le=10_000, description="mails per second and service, over all workers"
    )

    currency: str = Field(
        "EUR",
        pattern=r"^[A-Z]{3}$",
        description="what amounts in the two databases are in, as mails of schedules tell them (ISO 4217)",
    )
    customer_site_url: str = Field(
        "",
        description="site of customers, where links in mails of schedules lead: URL/bookings/ID, URL/launches/ID; default: ISSUER",
    )
    supplier_site_url: str = Field(
        "",
        description="site of suppliers, likewise: URL/invoices/ID, URL/launches; default: ISSUER",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least level that is logged"
    )
    log_spool_megabytes: int = Field(
        256,
        ge=1,
        description="log entries that wait on the disk for the log store, of all processes; more are dropped and counted",
    )
    log_days: int = Field(30, ge=1, description="days that the log store keeps an entry")
    log_megabytes: int = Field(
        512, ge=64, description="memory of the log store beyond which it gives up its oldest entries"
    )
    pool_size: int = Field(
        10, ge=1, le=200, description="connections per process to each PostgreSQL database"
    )
    store_timeout_seconds: float = Field(
        10.0, gt=0, le=300, description="longest wait for one statement of a store"
    )

    mappings: str = Field(
        "", description="further mapping modules to load, comma-separated, e.g. mycompany.mappings"
    )
    scans_in_flight: int = Field(
        4,
        ge=1,
        le=100,
        description="partitions compared at once, over all workers: each reads both databases",
    )
    settle_milliseconds: int = Field(
        200, ge=0, le=60_000, description="a record changed more recently than this is looked at again later"
    )
    breaker_change_ratio: float = Field(
        0.05,
        gt=0,
        le=1,
        description="share of an entity's records that may be changed in an hour, or by one run",
    )
    breaker_change_floor: int = Field(
        100, ge=1, description="changes that are always allowed, whatever the share"
    )
    breaker_delete_ratio: float = Field(
        0.001,
        gt=0,
        le=1,
        description="share of an entity's records that may be deleted in an hour, or by one run",
    )
    breaker_delete_floor: int = Field(
        20, ge=1, description="deletions that are always allowed, whatever the share"
    )

    @field_validator("issuer")
    @classmethod
    def _issuer_is_an_origin(cls, value: str) -> str:
        if value and not is_origin(value):
            raise ValueError("a URL such as https://core.example, without a path or a slash at its end")
        return value

    @field_validator("audit_signing_key", "audit_public_keys")
    @classmethod
    def _audit_keys_are_keys(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        keys = [value.get_secret_value()] if isinstance(value, SecretStr) else (value or "").split(",")
        if not all(_is_key(each) for each in keys if each):
            raise ValueError("an Ed25519 key is 32 bytes in base64, 44 characters")
        return value

    @property
    def public_keys(self) -> tuple[str, ...]:
        """The keys whose seals are trusted, each in base64."""
        return tuple(each for each in self.audit_public_keys.split(",") if each)

    @property
    def archive_dir(self) -> Path:
        """Where audit archives lie."""
        return self.audit_archive_dir or self.data_dir / "audit-archive"

    @field_validator("password_peppers", "encryption_keys")
    @classmethod
    def _named_keys_are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        pairs = [each.partition(":") for each in value.get_secret_value().split(",")] if value else []
        if not all(name.isalnum() and _is_key(key) for name, _, key in pairs):
            raise ValueError(
                "named keys are NAME:KEY, the name of letters and digits, the key 32 bytes in base64"
            )
        if len({name for name, _, _ in pairs}) < len(pairs):
            raise ValueError("two keys have one name")
        return value

    def keys(self, name: str) -> dict[str, bytes]:
        """The named keys of a setting, the one for new things first. Raises SettingsError where there is none."""
        secret: SecretStr | None = getattr(self, name)
        if secret is None:
            raise SettingsError(
                f"{PREFIX}{name.upper()} is not set; NAME:KEY, the key of `openssl rand -base64 32`"
            )
        pairs = (each.partition(":") for each in secret.get_secret_value().split(","))
        return {key: b64decode(value) for key, _, value in pairs}

    def current_key(self, name: str) -> str:
        """The name of the key for new things. Raises SettingsError where there is none."""
        return next(iter(self.keys(name)))

    @property
    def issuer_url(self) -> str:
        """Who issues our tokens."""
        return self.issuer or f"http://{self.web_host}:{self.web_port}"

    @model_validator(mode="after")
    def _mail_is_private(self) -> Self:
        if fault := fault_of_mail(self):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _each_key_has_one_purpose(self) -> Self:
        kept = [key for name in SECRETS for key in self._material(name)]
        if len(set(kept)) < len(kept):
            raise ValueError(f"of {_named(SECRETS)} two hold the same key: each purpose needs its own")
        return self

    def _material(self, name: str) -> set[bytes]:
        """The keys of a setting, without their names."""
        secret: SecretStr | None = getattr(self, name)
        given = secret.get_secret_value().split(",") if secret else []
        return {b64decode(each.rpartition(":")[2]) for each in given}

    def check_service(self) -> None:
        """What must hold where a process of the service starts, and need not where a command calls one. Raises SettingsError."""
        if self.environment == "production":
            wanted = (*STORE_URLS, *SECRETS, "issuer", *MAIL_NEEDS[self.notification_transport])
            if missing := [name for name in wanted if not getattr(self, name)]:
                raise SettingsError(
                    f"production, which this is unless {PREFIX}ENVIRONMENT says otherwise, needs {_named(missing)}"
                )
            keys = [key for name in SECRETS for key in self._material(name)]
            if any(len(set(key)) < _LEAST_DIFFERENT_BYTES for key in keys):
                raise SettingsError(f"a key of {_named(SECRETS)} is not random: `openssl rand -base64 32` is")
        if self.environment != "embedded" and not is_private_way(self.issuer_url):
            raise SettingsError(
                f"{PREFIX}ISSUER must be https://…, not {self.issuer_url}: tokens and secrets would cross the network in clear"
            )

    def url(self, name: str) -> str:
        """The URL of a store, in clear; raises SettingsError where it is not set, that is, where no system runs."""
        secret: SecretStr | None = getattr(self, name)
        if secret is None:
            raise SettingsError(
                f"{PREFIX}{name.upper()} is not set and no running system was found below {self.data_dir}; "
                "start one with `astrocore up`, or set the variable"
            )
        return secret.get_secret_value()


def _named(names: Iterable[str]) -> str:
    return ", ".join(PREFIX + name.upper() for name in names)


def _is_key(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) == AUDIT_KEY_BYTES
    except ValueError:
        return False


AUDIT_KEY_BYTES = 32
# Of 32 random ones some 30 differ; that fewer than 20 do has a chance of less than one in ten billion.
_LEAST_DIFFERENT_BYTES = 20

SECRETS = ("audit_signing_key", "password_peppers", "encryption_keys")
"""Settings without which production does not start, beside the stores and the issuer."""

STORE_URLS = (
    "core_database_url",
    "admin_database_url",
    "customer_database_url",
    "broker_url",
    "audit_url",
    "logs_url",
)


def read_sources(environ: Mapping[str, str] = os.environ) -> dict[str, tuple[str, str]]:
    """Every ``ASTROCORE_*`` value that is set, as name -> (value, source), the strongest source winning."""
    dot_env = _read_env_file(Path(".env"))
    data_dir = environ.get(PREFIX + "DATA_DIR") or dot_env.get(PREFIX + "DATA_DIR") or DATA_DIR_DEFAULT
    env_file = Path(data_dir) / "env"
    found: dict[str, tuple[str, str]] = {}
    for source, values in (
        (str(env_file), _read_env_file(env_file)),
        (".env", dot_env),
        ("environment", environ),
    ):
        for name, value in values.items():
            if name.startswith(PREFIX):
                found[name] = (value, source)
    return found


def _read_env_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {
        name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None
    }


def parse_settings(values: Mapping[str, str]) -> Settings:
    """Settings from ``ASTROCORE_*`` names; an unknown name or a bad value raises SettingsError with a hint."""
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    fields: dict[str, Any] = {}
    for variable, value in values.items():
        if variable not in known:
            nearest = difflib.get_close_matches(variable, known, n=1, cutoff=0)[0]
            raise SettingsError(f"unknown setting {variable}; the nearest known one is {nearest}")
        if value != "":
            fields[known[variable]] = value
    try:
        return Settings(**fields)
    except ValidationError as error:
        faults = (
            f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" if fault["loc"] else fault["msg"]
            for fault in error.errors()
        )
        raise SettingsError("; ".join(faults)) from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read on first use."""
    return parse_settings({name: value for name, (value, _source) in read_sources().items()})
