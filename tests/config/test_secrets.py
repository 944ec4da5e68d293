"""Fifty secrets are planted in every place that an entry can carry one, and none comes out of any sink."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from http.cookies import SimpleCookie
from typing import Any

import msgspec
import pytest
from loguru import logger
from pydantic import SecretStr

from config.correlation import correlated, new_correlation
from config.redaction import REDACTED, is_secret, know, redact
from tests.config.conftest import OPERATOR_KEY, SetUp

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEiLCJzZWNyZXQiOjF9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPlanted\n-----END PRIVATE KEY-----"


@dataclass
class Login:
    user: str
    password: str


class Mail(msgspec.Struct):
    to: str
    body: str


def mail(secret: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Reset"
    message.set_content(f"Your code is {secret}")
    return message


def cookie(secret: str) -> SimpleCookie:
    return SimpleCookie({"sid": secret})


# As fields: what is bound, around the secret.
FIELDS: list[Callable[[str], dict[str, Any]]] = [
    lambda s: {"password": s},
    lambda s: {"new_password": s.encode()},
    lambda s: {"Pass-Phrase": s},
    lambda s: {"client_secret": s},
    lambda s: {"refreshToken": s},
    lambda s: {"api_key": s},
    lambda s: {"authorization": f"Custom {s}"},
    lambda s: {"set_cookie": f"sid={s}; HttpOnly"},
    lambda s: {"pepper": [s, s]},
    lambda s: {"pin": int.from_bytes(s.encode()[:6])} | {"pwd": s},
    lambda s: {"headers": {"Authorization": s, "X-Api-Key": s, "Cookie": f"a={s}"}},
    lambda s: {"headers": [(b"authorization", s.encode()), (b"cookie", b"sid=" + s.encode())]},
    lambda s: {"headers": [["proxy-authorization", s]]},
    lambda s: {"outer": {"inner": [{"deep": {"credentials": {"user": "a", "value": s}}}]}},
    lambda s: {"body": f"Dear Ada, {s}"},
    lambda s: {"mail": {"to": "ada", "html": f"<p>{s}</p>", "text": s}},
    lambda s: {"mail": mail(s)},
    lambda s: {"mail": Mail("ada", s)},
    lambda s: {"login": Login("ada", s)},
    lambda s: {"key": f"password={s}"},
    lambda s: {"session_id": s},
    lambda s: {"csrf_token": s},
    lambda s: {"value": SecretStr(s)},
    lambda s: {f"password={s}": 1},
]

# As text: said in fields, named fields, events, exceptions, causes and by libraries.
TEXTS: list[Callable[[str], str]] = [
    lambda s: f"password={s}",
    lambda s: f"Password: {s}",
    lambda s: f"user=ada&password={s}&x=1",
    lambda s: f"{{'db_password': '{s}', 'x': 1}}",
    lambda s: f"{{b'password': b'{s}'}}",
    lambda s: json.dumps({"password": f'with " quote {s}', "x": 1}),
    lambda s: json.dumps(json.dumps({"access_token": f"it's {s}"})),
    lambda s: f"Authorization: Bearer {s}",
    lambda s: f"GET / with bearer {s}, refused",
    lambda s: f"authorization: Basic {s}==",
    lambda s: f"Cookie: theme=dark; sid={s}\nAccept: */*",
    lambda s: f"Set-Cookie: sid={s}; Path=/",
    lambda s: f"postgresql://core:{s}@db:5432/core failed",
    lambda s: f"redis://:{s}@redis/0",
    lambda s: f"https://{s}@example.com/repo.git",
    lambda s: f"mongodb://u:p/{s}@x@db:27017/?a=b",
    lambda s: f"/callback?code=1&token={s}#x",
    lambda s: f"--operator-key {s} --verbose",
    lambda s: f"API key: '{s}'",
    lambda s: f"CREATE ROLE x PASSWORD '{s}'",
    lambda s: f"<secret>{s}</secret>",
    lambda s: f"Login(user='ada', password='{s}')",
    lambda s: f"headers=[(b'authorization', b'{s}'), ('x', 1)]",
    lambda s: f"-----BEGIN RSA PRIVATE KEY-----\n{s}\n-----END RSA PRIVATE KEY-----",
    lambda s: f"hash $argon2id$v=19$m=19456,t=2,p=1${s}${s}",
    lambda s: f"ghp_{s}",
    lambda s: f"tokens: ['{s}', '{s}']",
    lambda s: str(cookie(s)),
]

SECRETS = [f"p1ant3d{number:02d}SeCrEt0f0urs" for number in range(len(FIELDS) + len(TEXTS))]


def test_there_are_fifty_of_them() -> None:
    assert len(SECRETS) >= 50


def raise_with(text: str) -> BaseException:
    error = ValueError(text)
    error.add_note(text)
    try:
        raise error from KeyError(text)
    except ValueError as raised:
        return raised


def say_everywhere(text: str) -> None:
    """One text, in every place that takes one."""
    logger.bind(note=text).info("run.resumed")
    logger.bind(note={"list": [text, (text,)]}, more=text.encode()).info("run.resumed")
    logger.bind(entity=text, key=text, actor=text, outcome=text, request_id=text).info("run.resumed")
    logger.bind(reason=ValueError(text)).info("run.resumed")
    logger.info(text)
    logger.opt(exception=raise_with(text)).error("request.failed")
    with correlated(new_correlation(request_id=text, actor=text)):
        logger.info("run.resumed")
    library = logging.getLogger("library")
    library.warning(text.replace("%", "%%"))
    library.warning("said %s and %r", text, {"x": text})
    library.error("failed", exc_info=raise_with(text))


@pytest.mark.parametrize("tty", [False, True])
def test_no_planted_secret_arrives_in_any_sink(set_up: SetUp, *, tty: bool) -> None:
    logged = set_up(tty=tty)
    library = logging.getLogger("library")

    for plant, secret in zip(FIELDS, SECRETS, strict=False):
        fields = plant(secret)
        logger.bind(**fields).info("run.resumed")
        logger.bind(inside=fields, listed=[fields]).info("run.resumed")
        library.warning("got %s", fields)
        library.warning("got %(value)s", {"value": fields})
    for plant, secret in zip(TEXTS, SECRETS[len(FIELDS) :], strict=True):
        say_everywhere(plant(secret))

    shipped = msgspec.json.encode(logged.entries).decode()
    assert len(logged.entries) > 300
    for secret in SECRETS:
        assert secret not in logged.text, (secret, [line for line in logged.lines if secret in line][:1])
        assert secret not in shipped


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ("login with password %s", ("hunter2hunter2",)),
        ("token is %r for %s", ("hunter2hunter2", "ada")),
        ("%(user)s has %(password)s", ({"user": "ada", "password": "hunter2hunter2"},)),
        ("Authorization: %s", ("hunter2hunter2",)),
        ("the secret of ada %d %d", ({"secret": "hunter2hunter2"},)),
    ],
)
def test_an_argument_that_a_librarys_template_calls_secret_is_not_put_in(
    set_up: SetUp, template: str, arguments: tuple[Any, ...]
) -> None:
    logged = set_up()
    logging.getLogger("library").warning(template, *arguments)
    [entry] = logged.entries
    assert "hunter2" not in logged.text + str(entry)
    assert REDACTED in entry.fields["message"]


def test_what_a_librarys_message_is_given_is_looked_into(set_up: SetUp) -> None:
    logged = set_up()
    library = logging.getLogger("library")
    library.warning("got %s", [{"pin": 123456789}])
    library.warning("got %(value)s", {"value": {"pin": 123456789}})
    library.warning("sent %s", mail("hunter2hunter2"))
    logger.bind(mail=mail("hunter2hunter2")).info("run.resumed")

    assert "123456789" not in logged.text
    assert "hunter2" not in logged.text
    assert logged.entries[-1].fields == {"mail": REDACTED}


def test_our_own_key_is_known_by_its_value_wherever_it_turns_up(set_up: SetUp) -> None:
    logged = set_up()
    say_everywhere(f"got {OPERATOR_KEY} here")
    logger.bind(**{OPERATOR_KEY: OPERATOR_KEY.encode()}).info("run.resumed")
    assert OPERATOR_KEY not in logged.text + str(logged.entries)


def test_the_password_of_a_store_is_known_by_its_value_too(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTROCORE_AUDIT_URL", "redis://core:long%2Fenough%2Fpassword@redis:6379/0")
    logged = set_up()
    logger.bind(a="long/enough/password", b="long%2Fenough%2Fpassword").info("run.resumed")
    [entry] = logged.entries
    assert entry.fields == {"a": REDACTED, "b": REDACTED}


@pytest.mark.parametrize("place", [0, 900, 32_000, 32_700, 32_768, 33_000, 40_000, 66_000, 99_000])
@pytest.mark.parametrize(
    "text", [f"password={JWT}", f"Bearer {JWT}", PEM, f"x {OPERATOR_KEY} y"], ids=range(4)
)
def test_a_secret_is_found_where_a_long_text_is_cut(set_up: SetUp, place: int, text: str) -> None:
    logged = set_up()
    logger.bind(note="x " * (place // 2) + text + " y" * ((100_000 - place) // 2)).info("run.resumed")
    told = str(logged.entries)
    assert not any(
        part in told for part in (JWT[-20:], JWT[30:60], "Planted", OPERATOR_KEY[:12], OPERATOR_KEY[-12:])
    )


@pytest.mark.parametrize("at", [-12, 12])
def test_half_a_secret_does_not_come_to_light_where_much_around_it_was_hidden(set_up: SetUp, at: int) -> None:
    logged = set_up()
    hidden = f"password='{'x' * 31_000}' "
    # The text is read up to 32,768 characters from either end, which cuts the key in two.
    head = hidden.ljust(32_768 - len(OPERATOR_KEY) // 2, "y") + OPERATOR_KEY
    tail = OPERATOR_KEY + hidden.rjust(32_768 - len(OPERATOR_KEY) // 2, "y")
    logger.bind(note=(head if at < 0 else " ") + "z" * 50_000 + (tail if at > 0 else " ")).info("run.resumed")
    told = str(logged.entries)
    assert OPERATOR_KEY[:10] not in told
    assert OPERATOR_KEY[-10:] not in told


@pytest.mark.parametrize(
    "text",
    [
        "run 0198c5a4-7a52-7d11-8b36-2f6f1e3f8a11 resumed",
        "http://127.0.0.1:8080/v1/reconciliation/runs?status=done",
        "http://db:5432/x?mail=ada@example.com",
        "password authentication failed for user ada",
        "the key of the record is 7",
        "ada@example.com",
        "/v1/auth/login",
        "costs $20",
    ],
)
def test_what_is_no_secret_is_told(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("password=x y", f"password={REDACTED} y"),
        ("redis://u:p@h/0", f"redis://{REDACTED}@h/0"),
        ("{'token': 'x', 'a': 1}", f"{{'token': {REDACTED}, 'a': 1}}"),
        (f"a {JWT} b", f"a {REDACTED} b"),
    ],
)
def test_what_stands_around_a_secret_is_told(text: str, told: str) -> None:
    assert redact(text) == told
    assert redact(told) == told


@pytest.mark.parametrize(
    "name", ["entity", "key", "author", "passed", "passenger", "status", "keys", "compass"]
)
def test_a_harmless_name_hides_nothing(name: str) -> None:
    assert not is_secret(name)


def test_a_flag_or_nothing_is_no_secret(set_up: SetUp) -> None:
    logged = set_up()
    logger.bind(has_password=True, inner={"token": None}).info("run.resumed")
    [entry] = logged.entries
    assert entry.fields == {"has_password": True, "inner": {"token": None}}


def test_short_secrets_of_ours_do_not_blacken_everyday_words() -> None:
    assert redact("postgres and a-long-enough-one") == "postgres and a-long-enough-one"
    know(["postgres", "a-long-enough-one"])
    try:
        assert redact("postgres and a-long-enough-one") == f"postgres and {REDACTED}"
    finally:
        know(())


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "://",
        "x://a:",
        "password",
        "password=",
        "eyJ",
        "-----BEGIN ",
        '"',
        "\\",
        "--a",
        " bearer",
        'secret"',
    ],
)
def test_no_text_takes_longer_than_its_length_allows(piece: str) -> None:
    def seconds(length: int) -> float:
        started = time.process_time()
        redact("password " + piece * (length // len(piece)))
        return time.process_time() - started

    # Four times the text at up to eight times the price passes; what grows with the square would cost sixteen.
    assert seconds(64_000) < 8 * max(seconds(16_000), 0.01)
