"""Templates over HTTP, against real stores."""

from typing import Any

import httpx
import msgspec

from app.accounts.admission import Caller
from app.accounts.permissions import SCOPES_OF, Role
from tests.web.conftest import OPERATOR, TOKEN

ALL = "/v1/notification-templates"
ONE = f"{ALL}/verify-email"


async def draft(mails: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    content = (await mails.get(ONE)).json()["content"]
    return {each: content[each] for each in ("schema", "locales", "sample")} | {"reason": "tone"} | changes


async def test_a_template_is_written_shown_chosen_and_stopped(mails: httpx.AsyncClient) -> None:
    assert len((await mails.get(ALL)).json()) == 12
    order = await draft(mails, current=False, revision=1)
    order["locales"]["en"]["subject"] = "Is it you, {{ given_name }}?"
    refused = await mails.post(f"{ONE}/versions", json=order)
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {
            "where": "locales/en/subject",
            "message": "with the fields alone that the schema requires: 'given_name' is undefined",
        }
    ]
    order["schema"]["required"].append("given_name")
    made = await mails.post(f"{ONE}/versions", json=order)
    assert (made.status_code, made.headers["location"]) == (201, f"{ONE}/versions/2")
    assert made.json()["template"]["current"] == 1
    assert (await mails.get(made.headers["location"])).json()["made_by"] == OPERATOR.name

    shown = await mails.post(f"{ONE}/preview", json={"version": 2})
    assert shown.json()["subject"] == "Is it you, Ada?"
    assert "<html" in shown.json()["html"]
    stale = await mails.post(f"{ONE}/current", json={"version": 2, "revision": 1, "reason": "x"})
    assert (stale.status_code, stale.json()["instance"]) == (409, ONE)
    chosen = await mails.post(f"{ONE}/current", json={"version": 2, "reason": "better"})
    assert chosen.json()["template"]["current"] == 2
    stopped = await mails.post(f"{ONE}/disable", json={"reason": "wrong link"})
    assert stopped.json()["template"]["disabled_because"] == "wrong link"
    assert (await mails.post(f"{ONE}/enable", json={"reason": "mended"})).json()["template"]["enabled"]


async def test_a_preview_takes_data_and_a_language(mails: httpx.AsyncClient) -> None:
    data = {"link": "https://example.com/t", "expires_at": "2027-01-01T00:00:00Z"}
    shown = (await mails.post(f"{ONE}/preview", json={"data": data, "locale": "es-AR"})).json()
    assert (shown["locale"], shown["subject"]) == ("es", "Confirma tu dirección de correo")
    faults = await mails.post(f"{ONE}/preview", json={"data": {"link": "x", "to": 1}})
    wheres = {each["where"] for each in faults.json()["errors"]}
    assert wheres == {"data/link", "data/to", "data/expires_at"}


async def test_what_breaks_a_rule_is_told(mails: httpx.AsyncClient) -> None:
    bare = {"schema": {}, "sample": {}, "reason": "x"}
    for path, body, where in (
        ("versions", {"reason": "x"}, ["schema", "locales", "sample"]),
        (
            "versions",
            {**bare, "locales": {"en": {"subject": "x", "text": "x"}, "es": {"subject": ""}}},
            ["locales/en/html", "locales/es/subject", "locales/es/text", "locales/es/html"],
        ),
        ("current", {"version": 0, "reason": ""}, ["reason", "version"]),
        ("current", {"version": 2**40, "reason": "x"}, ["version"]),
        ("disable", {}, ["reason"]),
        ("preview", {"locale": "x", "version": -1}, ["version", "locale"]),
    ):
        answer = await mails.post(f"{ONE}/{path}", json=body)
        assert answer.status_code == 422
        assert [each["where"] for each in answer.json()["errors"]] == where


async def test_what_is_not_there_is_not_found(mails: httpx.AsyncClient) -> None:
    for path in (f"{ALL}/nothing", f"{ONE}/versions/7", f"{ONE}/versions/{10**40}"):
        assert (await mails.get(path)).status_code == 404


async def test_auditors_read_operators_write(mails: httpx.AsyncClient, callers: dict[str, Caller]) -> None:
    allowed = {}
    for role in (Role.AUDITOR, Role.OPERATOR):
        callers[TOKEN] = msgspec.structs.replace(OPERATOR, scopes=SCOPES_OF[role])
        read = await mails.post(f"{ONE}/preview", json={})
        written = await mails.post(f"{ALL}/weekly-digest/disable", json={"reason": "x"})
        allowed[role] = (read.status_code, written.status_code)
    assert allowed == {Role.AUDITOR: (200, 403), Role.OPERATOR: (200, 200)}


async def test_what_mails_about_accounts_say_is_an_admins_to_change(
    mails: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    order = await draft(mails)
    statuses = {}
    for role in (Role.OPERATOR, Role.ADMIN):
        callers[TOKEN] = msgspec.structs.replace(OPERATOR, scopes=SCOPES_OF[role])
        answers = [
            await mails.post(f"{ONE}/{path}", json=body)
            for path, body in (
                ("versions", order),
                ("current", {"version": 1, "reason": "x"}),
                ("disable", {"reason": "x"}),
                ("enable", {"reason": "x"}),
            )
        ]
        statuses[role] = [each.status_code for each in answers]
    assert statuses == {Role.OPERATOR: [403] * 4, Role.ADMIN: [201, 200, 200, 200]}
    assert (await mails.post(f"{ALL}/nothing/disable", json={"reason": "x"})).status_code == 404
