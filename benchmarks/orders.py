"""Orders for mail over HTTP: how many a second the web process takes, beside the same call doing nothing.

Each is for one recipient by address, under a key of its own: one transaction of the core DB, which has to be on the disk
before the answer. The call doing nothing commits nothing; so no ratio is a goal. Nothing else of the service runs meanwhile.
"""

import json
from http import HTTPStatus

import httpx

from app.notifications.templates.shipped import shipped
from benchmarks.audit_web import served
from benchmarks.calls import Answered, Load, carry_out, other_than, p99, rate
from benchmarks.figure import Figure, compare, say
from config.settings import Settings

ORDERS = "/v1/notifications"
NOTHING = f"{ORDERS}/nothing"
"""What `nothing_web` serves besides."""
_TEMPLATE = "booking-confirmation"
_AT_ONCE = 16
_PEOPLE = 1000


async def measure(settings: Settings, mail: dict[str, str], *, rounds: int, seconds: float) -> list[Figure]:
    """Orders and calls that do nothing, in turn, for so many seconds each; `mail` are the settings that say where mail goes."""
    say(f"{rounds} rounds of orders for mail, and of calls that do nothing, {_AT_ONCE} at once")
    ordered: list[list[Answered]] = []
    nothing: list[list[Answered]] = []
    async with served(settings, mail, app="benchmarks.nothing_web:app") as client:
        for _ in range(rounds):
            nothing.append(await _carry_out(settings, client, NOTHING, seconds))
            ordered.append(await _carry_out(settings, client, ORDERS, seconds))
    return _figures(ordered, nothing)


def _figures(ordered: list[list[Answered]], nothing: list[list[Answered]]) -> list[Figure]:
    return [
        compare(
            f"notifications: orders for mail, {_AT_ONCE} at once",
            "per s",
            [(rate(ours, 202), rate(theirs, 202)) for ours, theirs in zip(ordered, nothing, strict=True)],
            limit_name="the same call doing nothing",
            goal="",
            reached=lambda _ratio: True,
        ),
        Figure(
            "notifications: orders for mail, p99",
            _p99(ordered),
            "ms",
            limit=_p99(nothing),
            limit_name="the same call doing nothing",
        ),
    ]


def _p99(rounds: list[list[Answered]]) -> float:
    return p99([each.seconds for answers in rounds for each in answers])


async def _carry_out(
    settings: Settings, client: httpx.AsyncClient, path: str, seconds: float
) -> list[Answered]:
    load = Load(
        settings.web_host,
        settings.web_port,
        path,
        {"Authorization": f"Bearer {await _token(settings, client)}", "Content-Type": "application/json"},
        [_order(number) for number in range(_PEOPLE)],
        _AT_ONCE,
        seconds,
        keyed=True,
    )
    answers = await carry_out(load)
    odd = other_than(answers, HTTPStatus.ACCEPTED)
    assert not odd, odd
    return answers


async def _token(settings: Settings, client: httpx.AsyncClient) -> str:
    assert settings.client_secret
    answer = await client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(settings.client_id, settings.client_secret.get_secret_value()),
    )
    return str(answer.raise_for_status().json()["access_token"])


def _order(number: int) -> bytes:
    sample = shipped()[_TEMPLATE].content.sample
    recipient = {"email": f"person{number}@example.com"}
    return json.dumps({"template": _TEMPLATE, "recipients": [recipient], "data": sample}).encode()
