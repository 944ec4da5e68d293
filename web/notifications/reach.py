"""How far callers reach who may have mail sent: what they may decide about, and what they are shown of it.

It is the same for a call of the API and a page of the console.
"""

from uuid import UUID

from msgspec.structs import replace

from actors import notifications as actors
from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.clock import now
from app.errors import ConflictError
from app.notifications.asking import deciding
from app.notifications.ledger import queries
from app.notifications.ledger.states import State
from app.notifications.ledger.views import NotificationView, StoryView
from app.stores.connections import Stores
from web.waking import wake


def limited_to(caller: Caller) -> str | None:
    """The client whose mails alone the caller decides about; None for an operator, who decides about all."""
    return None if Scope.QUEUES_OPERATE in caller.scopes else caller.client


def may_decide(caller: Caller, story: StoryView) -> bool:
    """Whether the caller decides about this mail at all."""
    client = limited_to(caller)
    return client is None or deciding.is_theirs(client, story.client, story.notification.kind)


def may_retry(caller: Caller, state: State) -> bool:
    """Whether it is theirs to send a mail in this state again: of one that may have gone that is an operator's to decide."""
    return state is not State.UNKNOWN or limited_to(caller) is None


def shown_to(caller: Caller, view: NotificationView) -> NotificationView:
    """The mail, without its address for whoever may not read mails."""
    return view if Scope.NOTIFICATIONS_READ in caller.scopes else replace(view, email=None)


async def retry_one(stores: Stores, notification: UUID, *, caller: Caller, reason: str) -> NotificationView:
    """The notification that follows this one. Raises NotFoundError, ForbiddenError, ConflictError that says why not."""
    await queries.get_notification(stores.core, notification)
    tried = await deciding.retry(
        stores, [notification], by=caller.name, client=limited_to(caller), reason=reason, moment=now()
    )
    if notification in tried.refused:
        raise ConflictError(f"the notification is not retried: {tried.refused[notification]}")
    made = await queries.get_notification(stores.core, tried.retried[notification])
    await wake(actors.wake_delivery)
    return made
