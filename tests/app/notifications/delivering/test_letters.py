"""The mail of a notification: word for word the same in every attempt, whatever has changed meanwhile."""

from datetime import UTC, datetime, timedelta

import pytest

from app.notifications.delivering.claiming import Claim, claim
from app.notifications.delivering.letters import LockedError, UnwritableError
from app.notifications.delivering.settling import About, mark
from app.notifications.delivering.transports.transport import Mail
from app.notifications.templates import catalogue
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from tests.app.notifications.contents import content
from tests.app.notifications.post import ask, let_claims_run_out, letters, make_template, row


async def take(stores: Stores) -> Claim:
    at = datetime.now(UTC) + timedelta(seconds=1)
    return (await claim(stores.core, "smtp", 1, dedupes=True, moment=at)).claims[0]


async def written(stores: Stores, claimed: Claim) -> Mail:
    """The mail; raises what keeps it from being written."""
    (mail,) = await letters(stores).write([claimed])
    if isinstance(mail, Exception):
        raise mail
    return mail


async def test_every_attempt_says_the_same_whatever_becomes_of_the_template(booked: Stores) -> None:
    (asked,) = await ask(booked)
    first = await take(booked)
    mail = await written(booked, first)
    await mark(booked.core, [About(first, letters(booked).shown(first, mail))], datetime.now(UTC))
    await catalogue.add_version(booked, "booking", content("Bye {{ name }}"), by="ann", reason="tone")
    await booked.core.execute(
        "UPDATE template_versions SET locales = replace(locales::text, 'Hello', 'Moin')::jsonb"
    )
    await let_claims_run_out(booked)
    assert await written(booked, await take(booked)) == mail
    assert mail.message_id == f"<{asked}@astrobookings.example>"
    assert mail.date == (await row(booked, asked))["send_at"]


async def test_a_mail_bears_the_date_at_which_it_was_due(booked: Stores) -> None:
    (asked,) = await ask(booked)
    await booked.core.execute("UPDATE notifications SET created_at = created_at - interval '300 days'")
    assert (await written(booked, await take(booked))).date == (await row(booked, asked))["send_at"]


async def test_a_mail_is_written_from_the_version_that_it_was_asked_for_with(booked: Stores) -> None:
    await ask(booked)
    await catalogue.add_version(booked, "booking", content("Bye {{ name }}"), by="ann", reason="tone")
    assert "Hello Ada" in (await written(booked, await take(booked))).text


async def test_a_secret_is_opened_only_for_whom_it_was_locked(stores: Stores) -> None:
    await make_template(stores, Kind.SECURITY)
    (asked,) = await ask(stores, kind=Kind.SECURITY)
    claimed = await take(stores)
    mail = await written(stores, claimed)
    assert "Hello Ada" in mail.text
    assert letters(stores).shown(claimed, mail) is None
    await stores.core.execute(
        "UPDATE notifications SET email_key = 'eve@example.com', claimed_by = 'x' WHERE id = $1", asked
    )
    await let_claims_run_out(stores)
    with pytest.raises(LockedError, match="cannot be opened"):
        await written(stores, await take(stores))


async def test_a_mail_that_cannot_be_written_keeps_no_other_from_it(booked: Stores) -> None:
    await ask(booked, "ada@example.com", "bob@example.com", "eve@example.com")
    at = datetime.now(UTC) + timedelta(seconds=1)
    claims = (await claim(booked.core, "smtp", 3, dedupes=True, moment=at)).claims
    unknown = Claim({**claims[1].row, "template_version": 7}, "x", 1)  # type: ignore[arg-type]
    first, second, third = await letters(booked).write([claims[0], unknown, claims[2]])
    assert isinstance(first, Mail)
    assert isinstance(second, UnwritableError)
    assert "no version 7 of a template" in str(second)
    assert isinstance(third, Mail)


async def test_a_version_that_cannot_be_read_keeps_no_mail_of_another_from_being_written(
    booked: Stores,
) -> None:
    await make_template(booked, Kind.ALERT)
    await ask(booked)
    await ask(booked, kind=Kind.ALERT)
    await booked.core.execute(
        "UPDATE template_versions SET locales = replace(locales::text, '\"subject\"', '\"of_later\"')::jsonb WHERE name = 'alert'"
    )
    at = datetime.now(UTC) + timedelta(seconds=1)
    claims = (await claim(booked.core, "smtp", 2, dedupes=True, moment=at)).claims
    found = {
        each.row["template"]: mail
        for each, mail in zip(claims, await letters(booked).write(claims), strict=True)
    }
    assert isinstance(found["booking"], Mail)
    assert isinstance(found["alert"], ValueError)
