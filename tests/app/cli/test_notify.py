"""With what a mail is filled, as it is typed."""

from pathlib import Path

import pytest

from app.cli.errors import CommandError
from app.cli.notify import read_data


def test_values_are_json_or_texts_and_the_later_go_over_the_earlier() -> None:
    given = ["a=1", "b.c=x y", 'b.d=["z"]', "a=NaN", 'e="42"']
    assert read_data(given, over={"a": 0, "f": None}) == {
        "a": "NaN",
        "b": {"c": "x y", "d": ["z"]},
        "e": "42",
        "f": None,
    }


@pytest.mark.parametrize("value", ["1e999", '"\\ud800"', "\udcff", "[" * 100_000])
def test_what_cannot_be_sent_is_told_with_its_place(value: str) -> None:
    with pytest.raises(CommandError, match=r"--data name=.* cannot be sent") as told:
        read_data([f"name={value}"])
    assert len(told.value.what) < 400
    told.value.what.encode()


@pytest.mark.parametrize("text", ["{", "NaN", "[]", '{"a": 1e999}', '{"a": NaN}', "[" * 100_000])
def test_a_file_that_holds_no_data_is_told_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(CommandError, match=r"data\.json"):
        read_data([str(tmp_path / "data.json")])
