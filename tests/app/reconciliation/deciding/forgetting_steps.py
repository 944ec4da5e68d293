"""What tests of forgetting do: put letters into the broker, and forget a person."""

from uuid import uuid4

from dramatiq import Message

from actors.letters import DeadLetters
from actors.queues import Queue
from app.reconciliation.deciding import forgetting
from app.reconciliation.ledger.views import ErasureView
from app.stores.connections import Stores


def put_letter(letters: DeadLetters, queue: Queue, *args: object, traceback: str = "") -> str:
    """A dead letter as Dramatiq leaves it."""
    letter, place = str(uuid4()), f"{letters.namespace}:{queue}.XQ"
    message = Message(queue, "actor", args, {}, {"traceback": traceback}, letter)
    letters.redis.zadd(place, {letter: 1})
    letters.redis.hset(f"{place}.msgs", letter, message.encode())
    return letter


def left(letters: DeadLetters, queue: Queue) -> list[str]:
    place = f"{letters.namespace}:{queue}.XQ"
    kept = [each.decode() for each in letters.redis.zrange(place, 0, -1)]
    assert sorted(kept) == sorted(each.decode() for each in letters.redis.hkeys(f"{place}.msgs"))
    return kept


async def forget(stores: Stores, letters: DeadLetters, person: dict, **about: str) -> ErasureView:
    told = {"entity": "customers", "by": "ann", "reason": "asked for it"} | about
    return await forgetting.forget(stores, letters, key=str(person["id"]), **told)
