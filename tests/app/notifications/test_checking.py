"""A version that could not be sent is refused, with everything that is wrong with it."""

import msgspec
import pytest

from app.errors import Fault
from app.notifications.checking import faults_in_content
from app.notifications.content import Content, Texts
from tests.app.notifications.contents import SAMPLE, SCHEMA, content, texts


def wheres(given: Content) -> list[str]:
    return [each.where for each in faults_in_content(given)]


def test_a_good_version_has_no_faults() -> None:
    assert faults_in_content(content()) == []


def test_every_fault_of_every_locale_is_listed() -> None:
    bad = Content(
        {"type": "nothing"},
        {"español": texts(), "es": Texts("{{ name", "no layout", "{{ 1 + 1 }}")},
        SAMPLE,
    )
    assert wheres(bad) == [
        "locales/en", "locales/español", "locales/es/subject", "locales/es/text", "locales/es/html", "schema",
    ]  # fmt: skip


def test_the_line_of_a_mistake_is_told() -> None:
    (fault,) = faults_in_content(content(subject="a\nb\n{% if name %}"))
    assert fault.where == "locales/en/subject"
    assert fault.message.startswith("line 3: Unexpected end of template")


def test_the_sample_has_to_fit_the_schema() -> None:
    assert faults_in_content(content(sample={"nmae": "Ada"})) == [
        Fault("sample/nmae", "is unknown"),
        Fault("sample/name", "is missing"),
    ]


def test_what_the_schema_does_not_require_may_be_missing_from_the_data() -> None:
    (text, html) = faults_in_content(content("{{ items | listed }}"))
    assert (text.where, html.where) == ("locales/en/text", "locales/en/html")
    assert text.message == "with the fields alone that the schema requires: 'items' is undefined"
    assert faults_in_content(content("{% if items is defined %}{{ items | listed }}{% endif %}")) == []


def test_a_subject_says_something() -> None:
    assert wheres(content(subject="{% if items is defined %}x{% endif %}")) == ["locales/en/subject"]


@pytest.mark.parametrize("part", ["subject", "text", "html"])
def test_what_no_store_can_keep_is_refused(part: str) -> None:
    spoilt = msgspec.structs.replace(texts(), **{part: "a\0b"})
    assert wheres(Content(SCHEMA, {"en": spoilt}, SAMPLE)) == [f"locales/en/{part}"]


def test_a_version_has_so_many_locales_and_no_more() -> None:
    many = {f"es-{number:03}": texts() for number in range(20)}
    assert faults_in_content(Content(SCHEMA, {"en": texts(), **many}, SAMPLE)) == [
        Fault("locales", "are more than 20")
    ]
