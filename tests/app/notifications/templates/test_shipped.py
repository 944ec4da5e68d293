"""The templates that come with the service."""

import re
from html.parser import HTMLParser
from itertools import product
from typing import Any, get_args

import pytest

from app.accounts.mails import What
from app.notifications.templates.checking import faults_in_content
from app.notifications.templates.content import Kind
from app.notifications.templates.rendering import Rendered, render
from app.notifications.templates.schemas import faults_in_data
from app.notifications.templates.shipped import shipped
from app.stores.vocabulary import Destination

TEMPLATES = shipped()
UNSUBSCRIBE = "https://core.example/unsubscribe/token"


def changed(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {**TEMPLATES[name].content.sample, **changes}


def less(name: str, *fields: str) -> dict[str, Any]:
    return {key: value for key, value in TEMPLATES[name].content.sample.items() if key not in fields}


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, each.content.sample) for name, each in TEMPLATES.items()),
    *(("launch-update", changed("launch-update", {"status": each, "reason": "Wind <3"})) for each in ("Scheduled", "Aborted", "Completed")),
    ("booking-cancellation", changed("booking-cancellation", {"cancelled_by": "astrobookings"})),
    ("invoice-due", changed("invoice-due", {"overdue": True})),
    ("launch-reminder", changed("launch-reminder", {"days": 1})),
    ("new-launch", less("new-launch", "public_from", "zone")),
    ("weekly-digest", changed("weekly-digest", {"launches": []})),
    ("reset-password", changed("reset-password", {"first": True})),
    ("verify-email", changed("verify-email", {"changing": True})),
    *(("account-notice", changed("account-notice", {"what": each})) for each in get_args(What)),
    ("operator-alert", less("operator-alert", "facts", "advice", "link")),
]  # fmt: skip
MAILS = [(*each, locale) for each, locale in product(VARIANTS, ("en", "es"))]


def mail(name: str, data: dict[str, Any], locale: str) -> Rendered:
    assert faults_in_data(TEMPLATES[name].content.schema, data) == []
    return render(TEMPLATES[name].content, data, locale=locale, unsubscribe_url=UNSUBSCRIBE)


def test_what_the_service_has_to_say_is_shipped_in_english_and_spanish() -> None:
    kinds = {name: each.kind for name, each in TEMPLATES.items()}
    assert kinds == {
        "account-notice": Kind.SECURITY, "booking-cancellation": Kind.BOOKING, "booking-confirmation": Kind.BOOKING, "invoice-due": Kind.BOOKING,
        "launch-reminder": Kind.BOOKING, "launch-update": Kind.BOOKING, "new-booking": Kind.BOOKING,
        "new-launch": Kind.ALERT, "operator-alert": Kind.OPERATIONS, "reset-password": Kind.SECURITY,
        "verify-email": Kind.SECURITY, "weekly-digest": Kind.DIGEST,
    }  # fmt: skip
    assert all(set(each.content.locales) == {"en", "es"} for each in TEMPLATES.values())
    assert all(each.purpose.endswith(".") for each in TEMPLATES.values())


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_holds_to_what_is_asked_of_an_operators(name: str) -> None:
    assert faults_in_content(TEMPLATES[name].content) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_fields_that_nobody_knows_are_refused_wherever_they_stand(name: str) -> None:
    def objects(part: Any) -> list[dict[str, Any]]:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
        own = [part] if isinstance(part, dict) and part.get("type") == "object" else []
        return own + [found for each in inner for found in objects(each)]

    assert all(each["additionalProperties"] is False for each in objects(TEMPLATES[name].content.schema))


@pytest.mark.parametrize(("name", "data", "locale"), MAILS)
def test_plain_text_is_readable(name: str, data: dict[str, Any], locale: str) -> None:
    text = mail(name, data, locale).text
    for line in text.splitlines():
        assert len(line) <= 78
        assert "http" not in line or re.fullmatch(r"https?://\S+", line), line
    assert "\n\n\n" not in text
    assert not re.search(r"[ \t]\n|\{|\}|&[a-z]+;|<[a-z/]", text)
    assert text.count(UNSUBSCRIBE) == 1


class Page(HTMLParser):
    """What a mail program would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize(("name", "data", "locale"), MAILS)
def test_html_holds_to_what_mail_programs_understand(name: str, data: dict[str, Any], locale: str) -> None:
    html = mail(name, data, locale).html
    page = Page(html)
    tags = {tag for tag, _ in page.tags}
    assert tags <= {
        "html", "head", "meta", "title", "style", "body", "div", "table", "tbody", "tr", "td", "th", "p", "h1", "h2", "a",
        "span", "br", "strong",
    }  # fmt: skip
    assert not re.search(r"url\(|@import|\ssrc=|position:|float:|display: ?(flex|grid)|var\(", html)
    assert all(attributes["href"].startswith("https://") for tag, attributes in page.tags if tag == "a")
    for tag, attributes in page.tags:
        # Tables that only lay out are none to who listens; those with facts have a header in each row.
        if tag == "table":
            assert attributes.get("role") == "presentation" or "facts" in (attributes["class"] or "")
        if tag in ("td", "th", "p", "h1", "a"):
            assert attributes.get("style") or tag == "td", tag
    assert dict(page.tags)["html"]["lang"] == locale
    assert len(html.encode()) < 100_000


@pytest.mark.parametrize(("name", "data", "locale"), MAILS)
def test_what_an_inbox_shows_of_it_says_what_it_is_about(
    name: str, data: dict[str, Any], locale: str
) -> None:
    made = mail(name, data, locale)
    assert 10 <= len(made.subject) <= 90
    preheader = re.search(r'class="preheader"[^>]*>([^<]*)<', made.html)
    assert preheader
    assert len(preheader[1].strip("\u2007\u034f ")) >= 20
    assert preheader[1].strip("\u2007\u034f ") != made.subject


@pytest.mark.parametrize("name", TEMPLATES)
def test_spanish_is_not_english(name: str) -> None:
    english, spanish = (mail(name, TEMPLATES[name].content.sample, each) for each in ("en", "es"))
    written = {
        locale: set(re.findall(r"[^\W\d_]{4,}", re.sub(r"\{[^}]*\}", " ", texts.text)))
        for locale, texts in TEMPLATES[name].content.locales.items()
    }
    assert english.subject != spanish.subject or name == "operator-alert"
    assert len(written["en"] & written["es"]) <= 3, written["en"] & written["es"]


@pytest.mark.parametrize("destination", Destination)
def test_every_destination_has_a_name_in_both_languages(destination: Destination) -> None:
    launch = TEMPLATES["booking-confirmation"].content.sample["launch"] | {"destination": destination}
    data = changed("booking-confirmation", {"launch": launch})
    english, spanish = (mail("booking-confirmation", data, each) for each in ("en", "es"))
    assert english.subject.startswith("Booking confirmed: 2 seats to ")
    assert spanish.subject.startswith("Reserva confirmada: 2 plazas para viajar a ")
    if destination is not Destination.MARS:
        assert destination not in spanish.subject


def test_the_longest_digest_is_not_cut_off_by_anybody() -> None:
    name = "N" * 100
    launch = {"destination": name, "date": "2027-03-14T15:30:00Z", "rocket": name, "sold_seats": 10**9, "total_seats": 10**9, "new_seats": 10**9}  # fmt: skip
    assert mail("weekly-digest", changed("weekly-digest", {"launches": [launch] * 40}), "es")


def test_one_seat_is_one_seat() -> None:
    booking = TEMPLATES["new-booking"].content.sample["booking"] | {"seats": 1}
    data = changed("new-booking", {"booking": booking})
    assert "1 seat on your launch to the Moon has been booked." in mail("new-booking", data, "en").text
    assert "Se ha reservado 1 plaza en su lanzamiento a la Luna." in mail("new-booking", data, "es").text


def test_whatever_is_changed_of_an_account_has_a_name_in_both_languages() -> None:
    assert TEMPLATES["account-notice"].content.schema["properties"]["what"]["enum"] == list(get_args(What))
    subjects = {
        mail("account-notice", changed("account-notice", {"what": what}), locale).subject
        for what, locale in product(get_args(What), ("en", "es"))
    }
    assert len(subjects) == 2 * len(get_args(What))
    assert not [each for each in subjects for what in get_args(What) if each.endswith(f" {what}")]
