"""The states of a notification: whatever happens, no way leads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ConflictError
from app.notifications.ledger.states import ENDED, OPEN, RETRYABLE, WAYS, State, check_way

# The two that wait are one rank: a mail may be put to another time.
RANK = {
    State.SCHEDULED: 0,
    State.PENDING: 0,
    State.SENDING: 1,
    State.UNKNOWN: 2,
    State.SENT: 3,
    State.DELIVERED: 4,
    State.FAILED: 4,
    State.EXPIRED: 4,
    State.CANCELLED: 4,
    State.SUPPRESSED: 4,
}


@given(start=st.sampled_from(State), choices=st.lists(st.sampled_from(State), max_size=30))
def test_no_walk_through_the_table_ever_leads_back(start: State, choices: list[State]) -> None:
    here, steps = start, 0
    for there in choices:
        try:
            check_way(here, there)
        except ConflictError:
            assert there not in WAYS[here]
            continue
        assert RANK[there] > RANK[here] or {here, there} <= {State.SCHEDULED, State.PENDING}
        assert here not in ENDED
        steps += there not in {State.SCHEDULED, State.PENDING}
        here = there
    assert steps <= 4


def test_every_state_is_in_the_table_and_can_be_come_to() -> None:
    assert set(WAYS) == set(State)
    assert set().union(*WAYS.values()) == set(State)


def test_an_end_is_an_end_and_what_is_open_is_not_over() -> None:
    assert {State.DELIVERED, State.FAILED, State.EXPIRED, State.CANCELLED, State.SUPPRESSED} == ENDED
    assert not OPEN & ENDED
    assert not RETRYABLE & OPEN
    # What has arrived, or was accepted, is nothing to repeat.
    assert not RETRYABLE & {State.SENT, State.DELIVERED}


@pytest.mark.parametrize("state", [State.EXPIRED, State.CANCELLED, State.SUPPRESSED])
def test_what_is_said_not_to_have_gone_cannot_have_gone(state: State) -> None:
    before = {each for each, ways in WAYS.items() if state in ways}
    assert before == {State.SCHEDULED, State.PENDING, State.SENDING}
