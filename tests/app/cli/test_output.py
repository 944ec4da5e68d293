import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from app.cli import output


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("-", "'-'"),
        ("", "''"),
        (" Ada", "' Ada'"),
        ("Ada  Byron", "'Ada  Byron'"),
        ("Ada Byron", "Ada Byron"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (1.5, "1.5"),
        ({"unreadable": "x"}, '{"unreadable":"x"}'),
    ],
)
def test_a_value_is_never_mistaken_for_another(value: object, text: str):
    assert output.shown(value) == text


def test_no_value_can_command_the_terminal():
    assert output.shown("a\x1b[31mb\x9bc") == "a\\x1b[31mb\\x9bc"
    assert output.printable("a\u202eb\r\nc") == "a\\u202eb\\r\\nc"


def test_json_commands_no_terminal_either_and_says_the_same(capsys: pytest.CaptureFixture[str]):
    value = {"a": "\x9b31m\x7f\u202e\U000e0001\x1bé\n"}
    output.print_json(value)
    out = capsys.readouterr().out
    assert all(each.isprintable() or each == "\n" for each in out)
    assert "é" in out
    assert json.loads(out) == value


def test_markup_in_data_is_data(capsys: pytest.CaptureFixture[str]):
    output.stdout().print(output.listing(("a",), [("[red]x[/red]",)]))

    assert "[red]x[/red]" in capsys.readouterr().out


def test_letters_that_look_alike_are_told_apart():
    assert output.side_by_side("Ada", "Аda") == ("Ada (A is U+0041)", "Аda (А is U+0410)")
    assert output.side_by_side("Jose\u0301", "José") == ("Jose\u0301 (e is U+0065)", "José (é is U+00E9)")


@pytest.mark.parametrize(
    "pair", [("Ada", "Eve"), ("Ada", "Ada "), ("Ada", None), (1, 2), ("Zoë", "Zoë"), ("", "é")]
)
def test_other_values_are_shown_as_they_are(pair: tuple[object, object]):
    assert output.side_by_side(*pair) == (output.shown(pair[0]), output.shown(pair[1]))


def test_times_are_told_in_utc():
    time = datetime(2026, 1, 1, 1, 30, 5, tzinfo=timezone(timedelta(hours=2)))

    assert output.moment(time) == "2025-12-31 23:30:05"
    assert output.brief(time) == "31 Dec 23:30"
    assert output.moment(None) == "-"


def test_what_is_written_elsewhere_than_to_a_terminal_has_100_columns_and_no_colours(capsys):
    output.stdout().print(output.listing(("id", "what"), [("1", output.state("failed")), ("2", "x " * 200)]))

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 100
    assert "\x1b" not in "".join(lines)


def test_a_run_is_told_once_as_a_cause():
    run_id = UUID(int=7)

    assert output.cause("event", None) == "event"
    assert output.cause("approved by operator", run_id) == f"approved by operator, run {run_id}"
    assert output.cause(f"run {run_id}", run_id) == f"run {run_id}"


def test_an_empty_list_says_so(capsys: pytest.CaptureFixture[str]):
    output.stdout().print(output.listing(("id", "what"), []))

    assert capsys.readouterr().out.splitlines()[-1].strip() == "none"


def test_a_number_of_seconds_needs_both_ends():
    start = datetime(2026, 1, 1, tzinfo=UTC)

    assert output.seconds_between(start, start + timedelta(seconds=1.5)) == 1.5
    assert output.seconds_between(start, None) is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "1 h"), (200_000, "2 d"), (-3, "0 s")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, shown: str) -> None:
    assert output.age(timedelta(seconds=seconds)) == shown
