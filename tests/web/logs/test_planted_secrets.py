"""Secrets that are planted in every place of an entry come out nowhere: not on a disk, not in the store, not over HTTP."""

import json
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr
from redis import Redis

from app.logs.layout import prefix_of
from app.logs.shipping import Shipper
from config.log_entries import LogEntry
from tests.config.conftest import SetUp, set_up
from tests.config.planted import FIELDS, SECRETS, TEXTS, found_in, plant_everywhere
from tests.web.logs.conftest import LOGS

__all__ = ["set_up"]  # a fixture


@pytest.fixture
def planted(set_up: SetUp) -> list[LogEntry]:
    logged = set_up()
    plant_everywhere()
    return logged.entries


async def every_answer(reader: httpx.AsyncClient) -> list[str]:
    answers, cursor = list[httpx.Response](), ""
    while cursor is not None:
        answers.append(await reader.get(f"{LOGS}?limit=1000{cursor and f'&cursor={cursor}'}"))
        cursor = answers[-1].json()["next_cursor"]
    answers += [await reader.get(f"{LOGS}/export?format={kind}") for kind in ("ndjson", "csv")]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.text for answer in answers]


async def test_neither_spool_nor_store_nor_answer_holds_a_planted_secret(
    reader: httpx.AsyncClient, logs: SimpleNamespace, planted: list[LogEntry], tmp_path
):
    shipper = Shipper(logs.settings.model_copy(update={"data_dir": tmp_path}))
    for entry in planted:
        shipper.ship(entry)
    spooled = b"".join(path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file())
    shipper.stop(10)
    with Redis.from_url(logs.settings.url("logs_url")) as redis:
        stored = b"".join(
            redis.dump(key) or b""
            for key in redis.scan_iter(f"{prefix_of(logs.settings.namespace)}*", count=1000)
        )
        lines = b"".join(
            line[b"entry"] for _id, line in redis.xrange(f"{prefix_of(logs.settings.namespace)}:entries")
        )

    assert spooled.count(b"\n") == lines.count(b'"sequence"') == len(planted) > 500
    for told in (spooled, stored, lines):
        assert found_in(told.decode("latin-1")) == []
    assert [found_in(text) for text in await every_answer(reader)] == [[]] * 3


def as_sent(value: Any) -> dict[str, Any]:
    """What JSON does not know, as others would spell it."""
    match value:
        case SecretStr():
            return {"secret": value.get_secret_value()}
        case EmailMessage():
            return {"body": value.get_content()}
    raise AssertionError(type(value))


async def test_nor_does_any_of_what_clients_send(reader: httpx.AsyncClient):
    entries = []
    for plant, secret in zip(FIELDS, SECRETS, strict=False):
        fields = json.loads(msgspec.json.encode(plant(secret), enc_hook=as_sent))
        entries.append({"fields": fields})
        entries.append({"fields": {"inside": [fields]}})
    for plant, secret in zip(TEXTS, SECRETS[len(FIELDS) :], strict=True):
        text = plant(secret)
        entries.append({"fields": {"note": text, text: 1, "list": [text, {"deep": text}]}})
        names = ("request_id", "message_id", "actor", "outcome", "entity", "key")
        entries.append(
            dict.fromkeys(names, text) | {"exception": {"type": text, "message": text, "stack": text}}
        )
    body = {"entries": [each | {"event": "seat.sold", "component": "shop"} for each in entries]}

    answer = await reader.post(LOGS, json=body)

    assert answer.json() == {"accepted": len(entries)}
    assert [found_in(text) for text in await every_answer(reader)] == [[]] * 3
