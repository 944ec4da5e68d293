"""Fifty secrets and more, and every place that an entry can carry one."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from http.cookies import SimpleCookie
from typing import Any

import msgspec
from loguru import logger
from pydantic import SecretStr

from config.correlation import correlated, new_correlation


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
    lambda s: f"pass={s}",
    lambda s: f"smtp_pass: {s}",
    lambda s: f"pwd: '{s}'",
    lambda s: f"auth={s}",
    lambda s: f"session={s}; Path=/",
    lambda s: f"sid={s}",
    lambda s: f"{{'otp': '{s}'}}",
    lambda s: f"your verification code is {s}",
    lambda s: f"GET /callback?state=1&code={s}",
    lambda s: f"https://files.example.com/x?sv=1&sig={s}",
    lambda s: f"https://files.example.com/x?X-Amz-Signature={s}",
    lambda s: f"sk_live_{s}",
    lambda s: f"rk_test_{s}",
    lambda s: f"whsec_{s}",
    lambda s: f"SG.{s}.{s}",
    lambda s: f"AIza{s}",
    lambda s: f"ASIA{s.upper()}",
    lambda s: f"xoxb-1-{s}",
    lambda s: f"amqps://u:a'b\"c<{s}>@mq/x",
    lambda s: f"postgresql+asyncpg://u:two words {s}@db/x",
    lambda s: f"my_own_db://u:{s}@db",
    lambda s: f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{s}\n-----END PGP PRIVATE KEY BLOCK-----",
    lambda s: f"{s}\n-----END ENCRYPTED PRIVATE KEY-----",
]

SECRETS = [f"p1ant3d{number:02d}SeCrEt0f0urs" for number in range(len(FIELDS) + len(TEXTS))]


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


def plant_everywhere() -> None:
    """Log every secret, in every place."""
    library = logging.getLogger("library")
    for plant, secret in zip(FIELDS, SECRETS, strict=False):
        fields = plant(secret)
        logger.bind(**fields).info("run.resumed")
        logger.bind(inside=fields, listed=[fields]).info("run.resumed")
        library.warning("got %s", fields)
        library.warning("got %(value)s", {"value": fields})
    for plant, secret in zip(TEXTS, SECRETS[len(FIELDS) :], strict=True):
        say_everywhere(plant(secret))


def found_in(told: str) -> list[str]:
    """The planted secrets that came to light."""
    return [secret for secret in SECRETS if secret in told or secret.upper() in told]
