"""From a template and data to a mail."""

import pytest

from app.notifications.templates.content import Content
from app.notifications.templates.rendering import (
    MOST_BYTES,
    MOST_SUBJECT,
    RenderingError,
    choose_locale,
    one_line,
    render,
)
from tests.app.notifications.contents import SCHEMA, content, texts


def test_data_are_escaped_in_html_and_nowhere_else() -> None:
    mail = render(content(), {"name": "<b>Ada & Co</b>"})
    assert "Hello &lt;b&gt;Ada &amp; Co&lt;/b&gt;" in mail.html
    assert "Hello <b>Ada & Co</b>" in mail.text
    assert mail.subject == "Hello <b>Ada & Co</b>"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_no_line_of_the_data_becomes_a_header(end: str) -> None:
    mail = render(content(), {"name": f"Ada{end}Bcc: all@example.com"})
    assert mail.subject == "Hello Ada Bcc: all@example.com"


def test_a_subject_is_cut_off_where_it_is_too_long() -> None:
    assert len(one_line("x" * 1000)) == MOST_SUBJECT
    assert one_line("x" * 1000).endswith("…")
    assert one_line("x" * MOST_SUBJECT) == "x" * MOST_SUBJECT


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("es-MX", "es"), ("es", "es"), ("es_MX", "es"), ("ES-mx", "es"), ("pt-BR", "pt-BR"), ("pt", "en"), ("pt-PT", "en"),
        ("zh-Hant-TW", "zh-Hant"), ("fr", "en"), ("", "en"), ("nonsense!", "en"), ("-", "en"),
    ],
)  # fmt: skip
def test_the_nearest_locale_is_taken(wanted: str, chosen: str) -> None:
    assert choose_locale(wanted, ["en", "es", "pt-BR", "zh-Hant"]) == chosen


def test_dates_are_spelled_as_the_reader_has_them_in_the_language_of_the_text() -> None:
    made = Content(SCHEMA, {each: texts("{{ name | moment('UTC') }}") for each in ("en", "es")}, {})
    shown = {
        each: render(made, {"name": "2027-03-14T15:30:00Z"}, locale=each) for each in ("es-MX", "en-GB", "fr")
    }
    assert {name: mail.locale for name, mail in shown.items()} == {"es-MX": "es", "en-GB": "en", "fr": "en"}
    assert "domingo, 14 de marzo de 2027, 3:30\u00a0p.m. UTC" in shown["es-MX"].text
    assert "Sunday 14 March 2027" in shown["en-GB"].text.replace("Sunday,", "Sunday")
    assert "Sunday, March 14, 2027" in shown["fr"].text


def test_text_has_at_most_78_columns_and_keeps_links_whole() -> None:
    link = "https://example.com/" + "x" * 100
    mail = render(content("{{ name }}\n  * {{ name }}\n\n\n\n\nend"), {"name": "word " * 40 + link})
    lines = mail.text.splitlines()
    assert link in lines
    assert f"  {link}" in lines
    assert max(len(each) for each in lines if link not in each) <= 78
    assert "\n\n\n" not in mail.text


def test_styles_are_inlined_and_those_for_small_and_dark_screens_stay() -> None:
    mail = render(content('<table class="facts"><tr><th>x</th></tr></table>'), {"name": "x"})
    assert '<th style="' in mail.html
    assert "prefers-color-scheme: dark" in mail.html
    assert "<!--[if mso]>" in mail.html


def test_nothing_is_fetched_to_render(tmp_path) -> None:
    sheet = tmp_path / "x.css"
    sheet.write_text("p { color: #123456 }")
    mail = render(content(f'<link rel="stylesheet" href="file://{sheet}"><p>x</p>'), {"name": "x"})
    assert "#123456" not in mail.html


@pytest.mark.parametrize("tag", ["<style>", "<STYLE>", "<{{ 'style' }}>", "<sty{{ '' }}le>"])
def test_styles_stand_in_the_layout_alone(tag: str) -> None:
    with pytest.raises(RenderingError) as error:
        render(content(tag), {"name": "x"})
    assert [each.where for each in error.value.faults] == ["html"]
    render(content("{{ name }}"), {"name": "<style>"})


def test_the_way_out_of_digests_stands_in_both_parts() -> None:
    mail = render(content(), {"name": "x"}, unsubscribe_url="https://core.example/u/1?a=b&c=d")
    assert 'href="https://core.example/u/1?a=b&amp;c=d"' in mail.html
    assert "\nhttps://core.example/u/1?a=b&c=d\n" in mail.text
    assert "nsubscribe" not in render(content(), {"name": "x"}).text


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ("{{ nmae }}", "'nmae' is undefined"),
        ("{{ name.first }}", "has no attribute 'first'"),
        ("{{ items[7] }}", "has no element 7"),
        ("{% for each in name %}{% endfor %}", "goes over something that is no list"),
        ("{% for each in nothing %}{% endfor %}", "'nothing' is undefined"),
        ("{{ nothing | moment }}", "'nothing' is undefined"),
        ("{{ name | moment }}", "the filter moment was given what is no instant"),
        ("{{ name | money }}", "the filter money was given"),
        (r"{{ '\x00' }}", "has a character that cannot be stored"),
        ("{% if name < 3 %}{% endif %}", "cannot be done with it"),
        ("{{ '2027-03-14T15:30:00Z' | moment('Mars/Olympus') }}", "is no zone"),
    ],
)
def test_what_cannot_be_rendered_is_told_of_each_part_without_the_data(shown: str, told: str) -> None:
    with pytest.raises(RenderingError) as error:
        render(content(shown), {"name": "SECRET", "items": []})
    assert [each.where for each in error.value.faults] == ["text", "html"]
    assert all(told in each.message for each in error.value.faults)
    assert "SECRET" not in str(error.value.faults)


def test_a_number_that_cannot_be_worked_with_is_told_too() -> None:
    class Endless:
        def __str__(self) -> str:
            raise OverflowError

    with pytest.raises(RenderingError) as error:
        render(content("{{ items }}"), {"name": "x", "items": Endless()})
    assert "cannot be done with it" in error.value.faults[0].message


def test_a_mail_that_grows_too_long_is_not_rendered_to_its_end() -> None:
    long = {"name": "x" * 60_000, "items": ["x"] * 10_000}
    with pytest.raises(RenderingError) as error:
        render(content("{% for each in items %}{{ name }}{% endfor %}"), long)
    assert [each.message for each in error.value.faults] == [f"is longer than {MOST_BYTES:,} bytes"] * 2
    assert len(render(content("{{ name }}"), {"name": "x" * 60_000}).text) < MOST_BYTES


def test_a_subject_reads_as_it_is_written() -> None:
    assert one_line("to\u202e gro.live\u2066\ufeff \u200b") == "to gro.live"
    assert one_line("\U0001f468\u200d\U0001f680") == "\U0001f468\u200d\U0001f680"
