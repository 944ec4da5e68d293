"""Sending one mail again, for whoever asks: a call of the API or a page of the console."""

from uuid import UUID

from actors import notifications as actors
from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.clock import now
from app.errors import ConflictError, ForbiddenError
from app.notifications import deciding, queries
from app.notifications.states import State
from app.notifications.views import NotificationView
from app.stores.connections import Stores
from web.waking import wake


def may_retry(caller: Caller, state: State) -> bool:
    """Whether it is theirs to send a mail in this state again: of one that may have gone that is an operator's to decide."""
    return state is not State.UNKNOWN or Scope.QUEUES_OPERATE in caller.scopes


async def retry_one(stores: Stores, notification: UUID, *, caller: Caller, reason: str) -> NotificationView:
    """The notification that follows this one. Raises NotFoundError, ForbiddenError, ConflictError that says why not."""
    view = await queries.get_notification(stores.core, notification)
    if not may_retry(caller, view.state):
        raise ForbiddenError("the mail may have gone: only an operator may send it again")
    tried = await deciding.retry(stores, [notification], by=caller.name, reason=reason, moment=now())
    if notification in tried.refused:
        raise ConflictError(f"the notification is not retried: {tried.refused[notification]}")
    made = await queries.get_notification(stores.core, tried.retried[notification])
    await wake(actors.wake_delivery)
    return made
