"""Telling the Core API, against a stand-in for it."""

import json
from uuid import UUID

import httpx
import pytest

from app.demo import reporter
from app.demo.errors import DemoError
from app.demo.reporter import BATCH, EVENTS, Reporter

KEY = UUID(int=7)


class Api:
    """Answers with the given codes in turn, the last one for ever; None stands for a broken connection."""

    def __init__(self, *codes):
        self.codes = list(codes)
        self.bodies = []

    def __call__(self, request):
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        if code is None:
            raise httpx.ConnectError("refused", request=request)
        assert request.url.path == EVENTS
        self.bodies.append(json.loads(request.content)["events"])
        return httpx.Response(code, json={"accepted": len(self.bodies[-1])})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(reporter, "PAUSES_SECONDS", (0, 0))


async def tell(api, changes):
    async with httpx.AsyncClient(transport=httpx.MockTransport(api), base_url="http://core") as http:
        told = Reporter(http)
        told.tell(changes)
        await told.flush()
        return told


async def test_changes_are_told_by_entity_id_and_time():
    api = Api(202)
    told = await tell(api, [("bookings", KEY)])

    ((event,),) = api.bodies
    assert (event["entity"], event["id"]) == ("bookings", str(KEY))
    assert event["occurred_at"].endswith("+00:00")
    assert (told.told, told.failed) == (1, 0)


async def test_many_changes_go_in_batches():
    api = Api(202)
    told = await tell(api, [("bookings", KEY)] * (BATCH + 1))

    assert [len(body) for body in api.bodies] == [BATCH, 1]
    assert told.told == BATCH + 1


@pytest.mark.parametrize("trouble", [503, 429, None])
async def test_a_system_that_is_away_for_a_moment_is_asked_again(trouble):
    told = await tell(Api(trouble, trouble, 202), [("bookings", KEY)])

    assert (told.told, told.failed, told.refusal) == (1, 0, None)


async def test_after_some_tries_the_change_counts_as_not_told():
    told = await tell(Api(None), [("bookings", KEY)] * 3)

    assert (told.told, told.failed, told.refusal) == (0, 3, None)


@pytest.mark.parametrize(("code", "why"), [(401, "refuses the client"), (422, "refuses events with 422")])
async def test_a_refusal_that_lasts_ends_the_telling(code, why):
    api = Api(code)
    told = await tell(api, [("bookings", KEY)] * (BATCH * 2))

    assert len(api.bodies) == 1
    with pytest.raises(DemoError, match=why):
        raise told.refusal


async def test_where_no_system_runs_nothing_is_begun():
    with pytest.raises(DemoError, match="no running system was found"):
        async with reporter.reporting("http://127.0.0.1:1", None):
            pytest.fail("began")
