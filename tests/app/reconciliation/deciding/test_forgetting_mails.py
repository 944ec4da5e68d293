"""Who is forgotten gets no more mail, and nobody can read what theirs said."""

from uuid import UUID

from actors.letters import DeadLetters
from app.notifications.ledger import queries
from app.reconciliation.deciding import forgetting
from app.stores.connections import Stores
from tests.app.notifications.post import Refusing, Wire, ask, events, make_template, room, row
from tests.app.reconciliation.deciding.forgetting_steps import forget
from tests.app.reconciliation.worlds import customer, put_document

EMPTY = dict.fromkeys(("email", "email_key", "data", "locked_data", "subject", "body_text", "body_html"))


async def asked_for(stores: Stores, person: dict, email: str) -> UUID:
    (asked,) = await ask(stores, email)
    await stores.core.execute(
        "UPDATE notifications SET recipient_kind = 'customer', recipient_id = $2 WHERE id = $1",
        asked,
        person["id"],
    )
    return asked


async def held(stores: Stores, notification: UUID) -> dict[str, object]:
    found = await row(stores, notification)
    return {name: found[name] for name in EMPTY}


async def test_mails_to_a_person_lose_address_and_content_and_those_that_wait_do_not_go(
    repairing: Stores, letters: DeadLetters
) -> None:
    await make_template(repairing)
    ada = customer(email="Ada@Lovelace.example")
    await put_document(repairing, "customers", ada)
    sent = await asked_for(repairing, ada, "earlier@lovelace.example")
    await room(repairing, Refusing()).run_due()
    waiting = await asked_for(repairing, ada, "ada@lovelace.example")
    (by_address,) = await ask(repairing, "ADA@lovelace.example")
    (others,) = await ask(repairing, "bob@example.com")

    seen = await forgetting.preview(repairing, letters, entity="customers", key=str(ada["id"]))
    erased = await forget(repairing, letters, ada)
    assert (seen.mails, erased.mails, erased.something) == (3, 3, True)
    assert (await forget(repairing, letters, ada)).mails == 0

    smtp = Refusing()
    await room(repairing, smtp).run_due()
    assert [each.to for each in smtp.taken] == ["bob@example.com"]
    for each in (sent, waiting, by_address):
        assert await held(repairing, each) == EMPTY
    assert [await events(repairing, each) for each in (sent, waiting, others)] == [
        ["pending", "sending", "sent"],
        ["pending", "cancelled"],
        ["pending", "sending", "sent"],
    ]
    story = await queries.get_story(repairing, waiting)
    assert story.notification.because == "the person was forgotten"


async def test_a_mail_that_is_claimed_does_not_go_and_one_on_the_wire_leaves_nothing_behind(
    repairing: Stores, letters: DeadLetters
) -> None:
    await make_template(repairing)
    ada = customer(email="ada@lovelace.example")
    await put_document(repairing, "customers", ada)

    async def forgotten(_: object) -> None:
        await forget(repairing, letters, ada)

    claimed = await asked_for(repairing, ada, "ada@lovelace.example")
    smtp = Refusing()
    await room(repairing, Wire(smtp, before=forgotten)).run_due()
    assert smtp.taken == []
    assert (await row(repairing, claimed))["state"] == "cancelled"

    on_the_wire = await asked_for(repairing, ada, "ada@lovelace.example")
    await room(repairing, Wire(smtp, after=forgotten)).run_due()
    assert (await row(repairing, on_the_wire))["state"] == "sent"
    for each in (claimed, on_the_wire):
        assert await held(repairing, each) == EMPTY
