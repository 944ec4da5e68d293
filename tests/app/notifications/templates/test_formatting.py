"""Instants, amounts and words as readers have them."""

import pytest

from app.notifications.templates.content import Content
from app.notifications.templates.formatting import decimal_of
from app.notifications.templates.rendering import render
from tests.app.notifications.contents import SCHEMA, texts

INSTANT = "2027-03-14T15:30:00Z"
MONEY = {"amount": "2500000.50", "currency": "USD"}


@pytest.mark.parametrize(
    ("filtered", "given", "english", "spanish"),
    [
        ("moment('UTC')", INSTANT, "Sunday, March 14, 2027, 3:30 PM UTC", "domingo, 14 de marzo de 2027, 15:30 UTC"),
        ("moment", INSTANT, "Sunday, March 14, 2027, 4:30 PM (Central European Standard Time)",
         "domingo, 14 de marzo de 2027, 16:30 (hora estándar de Europa central)"),
        ("moment", "2027-07-01T22:30:00+00:00", "Friday, July 2, 2027, 12:30 AM (Central European Summer Time)",
         "viernes, 2 de julio de 2027, 0:30 (hora de verano de Europa central)"),
        ("clock('Asia/Tokyo')", INSTANT, "12:30 AM (Japan Standard Time)", "0:30 (hora estándar de Japón)"),
        ("clock('Europe/Istanbul')", INSTANT, "6:30 PM (GMT+03:00)", "18:30 (GMT+03:00)"),
        ("clock('Pacific/Kiritimati')", "9999-12-30T23:59:59Z", "1:59 PM (Line Islands Time)", "13:59 (hora de las Espóradas Ecuatoriales)"),
        ("day", "0001-01-02T00:00:00Z", "Monday, January 1, 1", "lunes, 1 de enero de 1"),
        ("day", "2027-04-30", "Friday, April 30, 2027", "viernes, 30 de abril de 2027"),
        ("day", "2027-07-01T22:30:00Z", "Friday, July 2, 2027", "viernes, 2 de julio de 2027"),
        ("money", MONEY, "$2,500,000.50", "2.500.000,50 US$"),
        ("money", {"amount": "-3", "currency": "EUR"}, "-€3.00", "-3,00 €"),
        ("money", {"amount": "0", "currency": "EUR"}, "€0.00", "0,00 €"),
        ("money", {"amount": "-0", "currency": "EUR"}, "-€0.00", "-0,00 €"),
        ("number", 12345, "12,345", "12.345"),
        ("number", 12345.0, "12,345", "12.345"),
        ("number", "12345.25", "12,345.25", "12.345,25"),
        ("listed", ["a", "b", "c"], "a, b, and c", "a, b y c"),
        ("word", "ISS", "International Space Station", "Estación Espacial Internacional"),
        ("word('to')", "Moon", "to the Moon", "a la Luna"),
        ("word('to')", "Mars", "to Mars", "a Marte"),
        ("word('to')", "Venus", "to Venus", "a Venus"),
        ("word", "Venus", "Venus", "Venus"),
    ],
)  # fmt: skip
def test_what_is_shown_is_spelled_as_the_locale_and_the_zone_have_it(
    filtered: str, given: object, english: str, spanish: str
) -> None:
    parts = texts(subject=f"{{{{ it | {filtered} }}}}")
    made = Content(SCHEMA, {"en": parts, "es": parts}, {})
    data = {"name": "", "zone": "Europe/Madrid", "it": given}
    shown = [render(made, data, locale=each).subject.replace("\u00a0", " ") for each in ("en", "es")]
    assert shown == [english, spanish]


@pytest.mark.parametrize(
    "value", ["1e9", "NaN", "Infinity", "", " 1", "1.", ".5", "１", "0x1", "1" * 21, 5, None, "1_0", "--1"]
)
def test_what_is_no_plain_decimal_number_is_none(value: object) -> None:
    with pytest.raises(ValueError, match="decimal"):
        decimal_of(value)


@pytest.mark.parametrize(
    ("filtered", "given"),
    [("moment", "2027-03-14T15:30:00"), ("moment", 7), ("moment", "9999-12-31T23:59:59-10:00"),
     ("moment", "9999-12-31T23:59:59Z"), ("day", "0001-01-01T00:00:00Z"), ("day", "14.3.2027"), ("money", {}), ("money", {"amount": "1", "currency": "XXY"}), ("money", "5 EUR"), ("number", "five"),
     ("number", 2.5), ("number", float("inf")), ("number", 10**300), ("number", -(10**40)), ("number", 1e300), ("listed", 5), ("word", ["x"])],
)  # fmt: skip
def test_what_cannot_be_spelled_is_told(filtered: str, given: object) -> None:
    from app.notifications.templates.rendering import RenderingError

    made = Content(SCHEMA, {"en": texts(subject=f"{{{{ it | {filtered} }}}}")}, {})
    with pytest.raises(RenderingError) as error:
        render(made, {"name": "", "it": given})
    assert f"the filter {filtered} was given" in error.value.faults[0].message
