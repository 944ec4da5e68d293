"""Entries stay readable for ever."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from app.audit.entries import (
    Entry,
    Fact,
    FactEntry,
    IntentEntry,
    Kind,
    Outcome,
    OutcomeEntry,
    Personal,
    decode,
    encode,
    kind_of,
)

AT = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
ID, DIFF, RUN = (UUID(int=number) for number in (1, 2, 3))

# As they were stored: never to be changed, only to be added to.
RECORDED: dict[bytes, Entry] = {
    b'{"type":"intent","id":"00000000-0000-0000-0000-000000000001","at":"2026-03-04T05:06:07.890000Z",'
    b'"deadline":"2026-03-04T05:06:07.890000Z","entity":"customers","key":"a","side":"relational","action":"update",'
    b'"before":{"x":1},"after":{"x":2},"policy":{"x":"why"},"cause":"event",'
    b'"diff_id":"00000000-0000-0000-0000-000000000002","run_id":null}': IntentEntry(
        ID, AT, AT, "customers", "a", "relational", "update", {"x": 1}, {"x": 2}, {"x": "why"}, "event", DIFF, None
    ),
    b'{"type":"intent","id":"00000000-0000-0000-0000-000000000001","at":"2026-03-04T05:06:07.890000Z",'
    b'"deadline":"2026-03-04T05:06:07.890000Z","entity":"customers","key":"a","side":"relational","action":"create",'
    b'"before":null,"after":{"x":"2.00"},"policy":{},"cause":"undo","diff_id":"00000000-0000-0000-0000-000000000002",'
    b'"run_id":"00000000-0000-0000-0000-000000000003","updated_at_before":"2026-03-04T05:06:07.890000Z",'
    b'"updated_at_after":"2026-03-04T05:06:07.890000Z","undoes":"00000000-0000-0000-0000-000000000003"}': IntentEntry(
        ID, AT, AT, "customers", "a", "relational", "create", None, {"x": "2.00"}, {}, "undo", DIFF, RUN, AT, AT, RUN
    ),
    b'{"type":"outcome","id":"00000000-0000-0000-0000-000000000001","at":"2026-03-04T05:06:07.890000Z",'
    b'"outcome":"rejected","detail":"customers_email_key"}': OutcomeEntry(ID, AT, Outcome.REJECTED, "customers_email_key"),
    b'{"type":"intent","id":"00000000-0000-0000-0000-000000000001","at":"2026-03-04T05:06:07.890000Z",'
    b'"deadline":"2026-03-04T05:06:07.890000Z","entity":"customers","key":"a","side":"relational","action":"update",'
    b'"before":{"is_vip":true},"after":{"is_vip":true},"policy":{"email":"why"},"cause":"event",'
    b'"diff_id":"00000000-0000-0000-0000-000000000002","run_id":null,"updated_at_before":null,"updated_at_after":null,'
    b'"undoes":null,"personal":{"persons":["customers/a"],"fields":["email"],'
    b'"keys":["00000000-0000-0000-0000-000000000003"],"text":"AAECAw=="}}': IntentEntry(
        ID, AT, AT, "customers", "a", "relational", "update", {"is_vip": True}, {"is_vip": True}, {"email": "why"},
        "event", DIFF, None, personal=Personal(("customers/a",), ("email",), (RUN,), b"\0\1\2\3"),
    ),
    b'{"type":"outcome","id":"00000000-0000-0000-0000-000000000001","at":"2026-03-04T05:06:07.890000Z",'
    b'"outcome":"indeterminate","detail":null,"personal":{"persons":["customers/a","customers/b"],"fields":["detail"],'
    b'"keys":["00000000-0000-0000-0000-000000000002","00000000-0000-0000-0000-000000000003"],'
    b'"text":"AAECAw=="}}': OutcomeEntry(
        ID, AT, Outcome.INDETERMINATE,
        personal=Personal(("customers/a", "customers/b"), ("detail",), (DIFF, RUN), b"\0\1\2\3"),
    ),
    b'{"type":"fact","id":"00000000-0000-0000-0000-000000000001","at":"2026-03-04T05:06:07.890000Z",'
    b'"name":"operator:job:change","actor":"operator","target":"customers-full","reason":"why not",'
    b'"detail":{"repairs":true},"run_id":null,"entity":"customers","key":null}': FactEntry(
        ID, AT, Fact.JOB_CHANGED, "operator", "customers-full", "why not", {"repairs": True}, None, "customers"
    ),
}  # fmt: skip

# A name that was once recorded is never taken off this list, nor out of the enum.
NAMES = """
    operator:job:change operator:breaker:reset reconciliation:run:start operator:run:approve operator:run:cancel
    operator:run:pause operator:run:resume operator:run:throttle reconciliation:run:end reconciliation:run:hold
    reconciliation:breaker:trip operator:diff:approve operator:diff:reject operator:hold:place operator:hold:release
    operator:undo:start reconciliation:undo:end operator:audit:read operator:changes:read operator:record:read
    operator:person:forget
"""


@pytest.mark.parametrize("body", RECORDED)
def test_what_was_recorded_is_read_as_it_was_meant(body: bytes) -> None:
    assert decode(body) == RECORDED[body]


def test_each_kind_has_recorded_bytes() -> None:
    assert {kind_of(entry) for entry in RECORDED.values()} == set(Kind) - {Kind.UNREADABLE}


@pytest.mark.parametrize("entry", RECORDED.values(), ids=kind_of)
def test_an_entry_survives_its_encoding(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


def test_an_entry_without_personal_values_does_not_pay_for_those_of_others() -> None:
    entry = OutcomeEntry(ID, AT, Outcome.APPLIED)
    assert b"personal" not in encode(entry)


def test_a_field_that_a_newer_version_added_is_passed_over() -> None:
    (body, *_) = RECORDED
    assert decode(body[:-1] + b',"invented_later":{"deep":[1]}}') == RECORDED[body]


def test_a_name_that_was_recorded_once_stays() -> None:
    assert set(NAMES.split()) <= set(Fact)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":"intent"}', b'{"type":"gossip"}', b"\xff"])
def test_what_is_no_entry_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(body)
