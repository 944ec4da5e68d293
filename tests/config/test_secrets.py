"""Fifty secrets are planted in every place that an entry can carry one, and none comes out of any sink."""

import logging
import random
import string
import time
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from loguru import logger

from config.logged_values import MOST_CHARACTERS
from config.redaction import REDACTED, is_secret, know, redact
from tests.config.conftest import CLIENT_SECRET, SetUp
from tests.config.planted import SECRETS, found_in, mail, plant_everywhere, say_everywhere

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEiLCJzZWNyZXQiOjF9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPlanted\n-----END PRIVATE KEY-----"


def test_there_are_fifty_of_them() -> None:
    assert len(SECRETS) >= 50


@pytest.mark.parametrize("tty", [False, True])
def test_no_planted_secret_arrives_in_any_sink(set_up: SetUp, *, tty: bool) -> None:
    logged = set_up(tty=tty)
    plant_everywhere()

    assert len(logged.entries) > 300
    assert found_in(logged.text) == []
    assert found_in(msgspec.json.encode(logged.entries).decode()) == []


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
    say_everywhere(f"got {CLIENT_SECRET} here")
    logger.bind(**{CLIENT_SECRET: CLIENT_SECRET.encode()}).info("run.resumed")
    assert CLIENT_SECRET not in logged.text + str(logged.entries)


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
    "text", [f"password={JWT}", f"Bearer {JWT}", PEM, f"x {CLIENT_SECRET} y"], ids=range(4)
)
def test_a_secret_is_found_where_a_long_text_is_cut(set_up: SetUp, place: int, text: str) -> None:
    logged = set_up()
    logger.bind(note="x " * (place // 2) + text + " y" * ((100_000 - place) // 2)).info("run.resumed")
    told = str(logged.entries)
    assert not any(
        part in told for part in (JWT[-20:], JWT[30:60], "Planted", CLIENT_SECRET[:12], CLIENT_SECRET[-12:])
    )


@pytest.mark.parametrize("before", [0, 31_000])
@pytest.mark.parametrize("encoded", [False, True])
def test_half_a_secret_does_not_come_to_light_where_a_text_is_too_long_to_be_looked_through(
    set_up: SetUp, before: int, *, encoded: bool
) -> None:
    logged = set_up()
    # What is looked through ends in the middle of the key; what was hidden before it moves it forward.
    text = f"password='{'x' * before}' ".ljust(MOST_CHARACTERS - len(CLIENT_SECRET) // 2, "y") + CLIENT_SECRET
    text += "z" * (4 * MOST_CHARACTERS)
    logger.bind(note=text.encode() if encoded else text).info("run.resumed")
    told = str(logged.entries)
    assert "yyyy" in told
    assert CLIENT_SECRET[:10] not in told
    assert "zzzz" not in told


def test_what_follows_a_long_secret_is_not_taken_for_harmless_because_its_beginning_is_far(
    set_up: SetUp,
) -> None:
    logged = set_up()
    logger.bind(note='{"body": "' + "Dear Ada, " * 30_000 + '"}').info("run.resumed")
    assert "Dear" not in str(logged.entries)


@pytest.mark.parametrize("secret", [JWT, CLIENT_SECRET, f"Bearer {JWT}"], ids=range(3))
@pytest.mark.parametrize("name", ["a_field", "entity", "key", "request_id"])
def test_no_half_of_a_secret_comes_to_light_where_a_name_is_cut(
    set_up: SetUp, name: str, secret: str
) -> None:
    logged = set_up()
    for place in [*range(60, 260, 7), *range(1100, 1240, 7)]:
        # What is hidden at first makes the rest move up to where the name is cut.
        text = f"password='{'x' * (place // 2)}' ".ljust(place, "y") + secret + "z" * 1000
        logger.bind(**({name: text} if name != "a_field" else {text: 1})).info("run.resumed")
    told = str(logged.entries)
    assert not any(secret[at : at + 8] in told for at in range(7, len(secret) - 8))


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
        "3 passed=3, bypass=yes, compass: north",
        "opinion: yes, spinning=4, pinned: 3",
        "pin the tail on the donkey, the pin is red",
        "author=ada, authored: 1, auth failed",
        "the session has ended; sessions=4",
        "inside=4, consider: yes, side=left",
        "sig=SIGTERM, signal=15, /x?sig=1",
        "code=200, status code: 404, code='23505', code=11000",
        "error code: 482913, exit code=1, zip code: 482913, status_code=500123",
        "unicode=1, decode: x, codec=utf8, encoded: 482913",
        "ASIA_PACIFIC_REGION, MSG.something_long_enough, task-sk_run",
        "http://[::1]:8080/x?mail=ada@example.com",
        "http://db:5432: refused, ask ada@example.com",
        "http://db: refused, ask ada@example.com",
        "https://example.com/a:b?x=ada@example.com",
        '{"url":"http://host","mail":"ada@example.com"}',
        "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----",
        "password is required, the password was changed, token is expired: 401",
        "the token was 512 bytes long; password is 8 characters; the pin is 3 mm",
        "Password for ada: refused; token for run 7: expired; API key for partner: missing",
        "session of run 12: ended, session for 2026: closed, session was closed at 12:30",
        "the access key for the partner is not set",
        "SMTP AUTH extension not supported by server. AUTH failed after 5000 ms",
        "docker run -u 1000:1000; curl -u ada https://x:443/; user=ada -u http://x:8080/; ls -a x",
        "somebody 'else' and nobody: \"x\"; embody 'x', antibody: 'x', bodyguard 'x', body_size=12",
        "risk-assessment-2026-of-something, task-sk-1234567890123456, npm_config_registry=x",
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
    "text",
    [
        "pin: 1234", "pin=1234", "PIN=1234", '"pin":"1234"', "{'pin': 1234}", "user.pin=1234", "<pin>1234</pin>",
        "otp=1234", "totp: 1234", "pass=1234", "pwd=1234", "sid=1234", "session: 1234", "auth=1234",
        "code=481234", "code: 481234", "your code: 481234", "{'code': '481234'}", "code=12345678",
        "one-time code: 1234", "2fa code 'x1234'", "Your login code is AB-1234", "sk_test_1234567890",
        "password is x1234", "the pin was 1234", "Password for user bob: x1234", "api key is 'x1234'", "AUTH default x1234",
        "AUTH x1234", "HELLO 3 AUTH core x1234", "curl -u ada:x1234 https://x", "redis-cli -p 1 -a x1234 ping",
        "password='''x1234'''", 'password="""a"\n1234"""', 'password="x1234\\', "PHPSESSID=x1234",
        "AccountKey=x1234=", "smtp_pass: 1234", "DBPASS=1234", "pw=1234", "master_key=1234", "X-Auth-Key: 1234",
        'password=\\"x1234\\', f"password:{' ' * 70}1234", f'{{"password" :\n{" " * 70}"1234"}}', "ya29.x1234567890",
        '{"html_body": "Dear 1234"}', '{"emailBody": "1234"}', '{"body_text": "1234"}', "sk-x1234567890abcdefg",
        "npm_x1234567890abcdefg", "hf_x1234567890abcdefg", "https://hooks.slack.com/services/T0/B0/x1234",
        "AKIAIOSF1234EXAMPLE", "ASIAIOSF1234EXAMPLE", "redis://u:p1234@h", "redis://u:x#y/1234@h:1/0",
    ],
)  # fmt: skip
def test_a_secret_of_a_few_characters_is_found_by_what_names_it(text: str) -> None:
    assert "1234" not in redact(text)


NAMES = ("pass", "pwd", "pin", "otp", "auth", "session", "sid", "password", "api_key", "token")


@given(
    st.sampled_from(NAMES),
    st.sampled_from(["=", ": ", ":", " = ", "=>"]),
    st.text(string.ascii_letters + string.digits + "!$%*+-./?@^_~", min_size=4, max_size=40),
    st.sampled_from(["", "user=ada ", "GET /x?a=1&", "(", "db_"]),
)
def test_whatever_a_name_is_set_to_is_hidden_and_nothing_of_it_where_the_name_is_in_a_word(
    name: str, sets: str, value: str, before: str
) -> None:
    assert redact(f"{before}{name}{sets}{value}") == f"{before}{name}{sets}{REDACTED}"
    harmless = f"{before}{name}{sets}".replace(name, {"pass": "bypass", "pin": "opinion"}.get(name, "name"))
    assert redact(f"{harmless}7") == f"{harmless}7"


@given(
    st.from_regex(r"[a-z][a-z0-9+._-]{0,38}", fullmatch=True),
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60).filter(
        lambda each: "@" not in each
    ),
)
def test_the_password_in_an_address_of_any_scheme_is_hidden_whatever_it_is_made_of(
    scheme: str, password: str
) -> None:
    assume(
        redact(f"{scheme}: 1") == f"{scheme}: 1"
    )  # where the scheme is the name of a secret, more is hidden
    text = f"{scheme}://ada:x{password}@host.example/path failed"
    assert redact(text) == f"{scheme}://{REDACTED}@host.example/path failed"


def test_a_field_named_code_is_hidden_where_it_is_one_to_use_once(set_up: SetUp) -> None:
    logged = set_up()
    for code in (200, "23505", "E_FAIL", 481234, "481234"):
        logger.bind(code=code).info("run.resumed")
    assert [entry.fields["code"] for entry in logged.entries] == [200, "23505", "E_FAIL", REDACTED, REDACTED]


@pytest.mark.parametrize(
    "name",
    [
        "verification_code", "otpCode", "backup-codes", "session_key", "X-Amz-Signature", "smtp_pass", "dbPass", "pw",
        "X-Auth-Key", "x-auth", "master_key", "ssh_key", "encrypt_key", "html_body", "message_body", "body_text",
        "email_body", "bodies",
    ],
)  # fmt: skip
def test_a_name_that_says_secret_is_one(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "status_code",
        "exit_code",
        "codec",
        "entity",
        "key",
        "author",
        "passed",
        "passenger",
        "status",
        "keys",
        "compass",
        "bypass",
        "oauth",
        "anybody",
        "body_size",
        "partner_key",
    ],
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
        "pin=",
        "code:",
        "-----END ",
        "KEY-----",
        "://a:b",
        " bearer",
        'secret"',
        'password=\\"',
        "password='x ",
        "token is ",
        "AUTH a ",
        "redis-cli -a ",
        " -u a:",
    ],
)
@pytest.mark.slow
def test_no_text_takes_longer_than_its_length_allows(piece: str) -> None:
    def seconds(length: int) -> float:
        started = time.process_time()
        redact("password " + piece * (length // len(piece)) + "\\")
        return time.process_time() - started

    # Four times the text at up to eight times the price passes; what grows with the square would cost sixteen.
    assert seconds(64_000) < 8 * max(seconds(16_000), 0.01)


PIECES = (
    "\\\\a",
    "\\",
    "\\\\",
    "a",
    " ",
    '"',
    "'",
    "password=",
    "b'",
    "=",
    ",",
    "-",
    "token is ",
    "://",
    ":",
    "@",
)


def test_no_short_text_takes_longer_than_others_of_its_length() -> None:
    def seconds(text: str) -> float:
        started = time.process_time()
        redact(text)
        return time.process_time() - started

    chosen = random.Random(1)
    units = ["\\\\a", *("".join(chosen.choices(PIECES, k=chosen.randint(1, 3))) for _ in range(600))]
    texts = [f"password={quote}{unit * 62}"[:72] + "\\" for quote in "\"'" for unit in units]
    # What doubles with every few characters takes a thousand times as long.
    most = 100 * max(seconds(f"password=x {'ab ' * 21}"), 0.0003)
    assert [text for text in texts if seconds(text) > most] == []
