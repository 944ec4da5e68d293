"""`astrocore seed` and `simulate`, asked wrongly: one line, a hint, exit code 2, and no store is looked for."""

import pytest

from app.cli.main import run


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed", "--bookings", "50"],
        ["seed", "--bookings", "-1"],
        ["seed", "--launches", "0"],
        ["seed", "--customers", "many"],
        ["seed", "--drift", "0.3"],
        ["simulate", "--rate", "0"],
        ["simulate", "--duration", "-3"],
        ["simulate", "--miss-rate", "2"],
    ],
)
def test_bad_values_are_told_in_a_line(arguments, capsys):
    assert run(arguments) == 2

    what, hint = capsys.readouterr().err.splitlines()
    assert what.startswith("astrocore: ")
    assert hint.startswith("  hint: ")
