"""Hashes of passwords."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from threading import Event

import pytest
from argon2 import PasswordHasher

from app.accounts.hashing import FLOOR, Cost, Hasher, HashingRoom, Peppers, Verdict, places
from app.errors import BusyError

CHEAP = Cost(memory=64, passes=1, lanes=1)
PEPPERS = Peppers({"a": b"1" * 32, "b": b"2" * 32}, current="a")
PASSWORD = "correct horse battery staple"


@pytest.fixture
def hasher() -> Hasher:
    return Hasher(CHEAP, PEPPERS)


def test_the_right_password_is_right_and_others_are_wrong(hasher: Hasher) -> None:
    stored = hasher.hash(PASSWORD)
    assert hasher.verify(PASSWORD, stored) == Verdict(right=True)
    for other in ("", PASSWORD + " ", PASSWORD.upper(), "x" * 4096):
        assert not hasher.verify(other, stored).right


def test_a_stored_hash_names_its_pepper_and_says_what_it_cost(hasher: Hasher) -> None:
    pepper, _, phc = hasher.hash(PASSWORD).partition(":")
    assert pepper == "a"
    assert phc.startswith("$argon2id$v=19$m=64,t=1,p=1$")


def test_two_spellings_of_one_text_are_one_password(hasher: Hasher) -> None:
    composed, apart = (unicodedata.normalize(form, "ñandú über alles") for form in ("NFC", "NFD"))
    assert composed != apart
    assert hasher.verify(apart, hasher.hash(composed)).right


def test_the_database_alone_is_of_no_use_without_the_pepper(hasher: Hasher) -> None:
    stored = hasher.hash(PASSWORD)
    elsewhere = Hasher(CHEAP, Peppers({"a": b"3" * 32}, current="a"))
    assert not elsewhere.verify(PASSWORD, stored).right


def test_a_hash_under_an_older_pepper_is_right_and_stale(hasher: Hasher) -> None:
    stored = hasher.hash(PASSWORD)
    rotated = Hasher(CHEAP, Peppers(PEPPERS.keys, current="b"))
    assert rotated.verify(PASSWORD, stored) == Verdict(right=True, stale=True)
    assert rotated.verify(PASSWORD, rotated.hash(PASSWORD)) == Verdict(right=True)


def test_a_hash_of_another_cost_is_right_and_stale(hasher: Hasher) -> None:
    stored = Hasher(CHEAP._replace(passes=2), PEPPERS).hash(PASSWORD)
    assert hasher.verify(PASSWORD, stored) == Verdict(right=True, stale=True)


@pytest.mark.parametrize(
    "stored", [None, "", "a:", "a:nonsense", "gone:$argon2id$v=19$m=64,t=1,p=1$c2FsdA$aGFzaA"]
)
def test_without_a_usable_hash_every_password_is_wrong(hasher: Hasher, stored: str | None) -> None:
    assert not hasher.verify(PASSWORD, stored).right


def test_without_a_hash_as_much_work_is_done(hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(PasswordHasher, "verify", lambda _, phc, given: checked.append((phc, given)))
    assert not hasher.verify(PASSWORD, None).right
    assert len(checked) == 1
    assert checked[0][0].startswith("$argon2id$v=19$m=64,t=1,p=1$")


class SlowHasher(Hasher):
    """Hashes for as long as the test wants."""

    def __init__(self) -> None:
        super().__init__(FLOOR._replace(memory=1024), PEPPERS)
        self.go_on = Event()

    def verify(self, password: str, stored: str | None) -> Verdict:
        self.go_on.wait(10)
        return super().verify(password, stored)


@pytest.fixture
async def slow() -> AsyncIterator[tuple[SlowHasher, HashingRoom]]:
    hasher = SlowHasher()
    room = HashingRoom(hasher, megabytes=1, patience=0.05)
    yield hasher, room
    hasher.go_on.set()
    room.close()


async def test_where_there_is_no_room_the_caller_is_told_to_come_again(
    slow: tuple[SlowHasher, HashingRoom],
) -> None:
    hasher, room = slow
    assert room.places == 1
    first = asyncio.create_task(room.verify(PASSWORD, None))
    await asyncio.sleep(0)
    with pytest.raises(BusyError) as told:
        await room.verify(PASSWORD, None)
    assert told.value.retry_after > 0
    hasher.go_on.set()
    assert await first == Verdict(right=False)
    assert not (await room.verify(PASSWORD, None)).right


async def test_what_a_caller_has_waited_before_counts_too(slow: tuple[SlowHasher, HashingRoom]) -> None:
    hasher, room = slow
    loop = asyncio.get_running_loop()
    room._patience = 60
    first = asyncio.create_task(room.verify(PASSWORD, None))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await asyncio.wait_for(room.verify(PASSWORD, None, since=loop.time() - 61), 5)
    hasher.go_on.set()
    await first
    # Where there is room nobody is sent away.
    assert not (await room.verify(PASSWORD, None, since=loop.time() - 61)).right


async def test_there_are_places_for_what_fits_into_the_memory_and_for_each_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    fits = {megabytes: places(FLOOR._replace(memory=64 * 1024), megabytes) for megabytes in (1, 64, 200, 512)}
    assert fits == {1: 1, 64: 1, 200: 3, 512: 4}


async def test_a_caller_who_gave_up_leaves_no_place_taken(slow: tuple[SlowHasher, HashingRoom]) -> None:
    hasher, room = slow
    for _ in range(3):
        waiting = asyncio.create_task(room.verify(PASSWORD, None))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    hasher.go_on.set()
    assert not (await room.verify(PASSWORD, None)).right


async def test_the_room_makes_hashes_that_hold(hasher: Hasher) -> None:
    room = HashingRoom(hasher, megabytes=1)
    assert (await room.verify(PASSWORD, await room.hash(PASSWORD))).right
    room.close()
