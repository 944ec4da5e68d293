"""Forgetting persons over HTTP."""

from litestar import Controller, Response, post
from litestar.params import JSONBody

from actors import reconciliation as actors
from actors.broker import broker
from actors.letters import DeadLetters
from app.accounts.permissions import Scope
from app.reconciliation.deciding import forgetting
from app.reconciliation.ledger.views import ErasureView
from web.guards import Calling, needs
from web.inputs import ErasureOrder, PersonName
from web.stores import Opened
from web.waking import wake


def letters() -> DeadLetters:
    """The messages of this process's broker that did not succeed."""
    return DeadLetters(broker.client, broker.namespace)


class Erasures(Controller):
    """Persons who are forgotten."""

    path = "/audit/erasures"
    tags = ("audit",)
    opt = needs(Scope.USERS_WRITE)

    @post(status_code=201, summary="Forget a person")
    async def forget_person(
        self, stores: Opened, caller: Calling, data: JSONBody[ErasureOrder]
    ) -> Response[ErasureView]:
        """Destroys the key of their values in the audit store, and erases them from diffs, waiting facts and the broker.

        Answers 200 where nothing was left to erase. What the two services hold of them is not touched. `unread` says that an
        archive cannot be read, and may have more.
        """
        erased = await forgetting.forget(
            stores, letters(), entity=data.entity, key=data.person, by=caller.name, reason=data.reason
        )
        await wake(actors.wake_repairs)
        return Response(erased, status_code=201 if erased.something else 200)

    @post("/preview", status_code=200, summary="Tell what forgetting a person would erase")
    async def preview_erasure(self, stores: Opened, data: JSONBody[PersonName]) -> ErasureView:
        return await forgetting.preview(stores, letters(), entity=data.entity, key=data.person)
