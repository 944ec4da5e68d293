"""The mail that an embedded system has sent, which nobody else ever gets.

It takes the right to operate: mail about accounts lies there in clear, and whoever reads a link in it sets another's password.
"""

import asyncio
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.params import FromPath
from litestar.response import Template

from app.accounts.permissions import Scope
from app.embedded.mailbox import Mailbox, Message
from app.errors import NotFoundError
from app.stores.connections import Stores
from web.console.framing import framed
from web.console.pages import page
from web.guards import needs
from web.stores import Opened

MOST = 50


class Messages(Controller):
    """There is nothing of it where mail goes to people."""

    path = "/mailbox"
    opt = needs(Scope.QUEUES_OPERATE)

    @get()
    async def list_messages(self, request: Request[Any, Any, Any], stores: Opened) -> Template:
        """The newest ones, the newest first."""
        found = await asyncio.to_thread(_mailbox(stores).latest, MOST)
        return page(request, "mailbox", messages=found, most=MOST)

    @get("/{message_id:str}")
    async def show(
        self, request: Request[Any, Any, Any], stores: Opened, message_id: FromPath[str]
    ) -> Template:
        message = await _message(stores, message_id)
        return page(request, "message", framing=True, message=message)

    @get("/{message_id:str}/html")
    async def show_html(
        self, request: Request[Any, Any, Any], stores: Opened, message_id: FromPath[str]
    ) -> Response[str]:
        """For a frame of the page above."""
        html = (await _message(stores, message_id)).html
        if html is None:
            raise NotFoundError("the message has no such part")
        return framed(request, html)


def _mailbox(stores: Stores) -> Mailbox:
    mailbox = Mailbox.of(stores.settings)
    if mailbox is None:
        raise NotFoundError("there is a mailbox in embedded systems alone")
    return mailbox


async def _message(stores: Stores, message_id: str) -> Message:
    message = await asyncio.to_thread(_mailbox(stores).message, message_id)
    if message is None:
        raise NotFoundError("the mailbox has no such message")
    return message
