import pytest

from app.embedded.errors import EmbeddedError
from app.embedded.procfile import parse_procfile, read_procfile


def test_commands_are_read_in_order_around_comments_and_blank_lines():
    text = "# processes\n\nweb: exec granian --port ${PORT:-1}\n  worker:   exec dramatiq a:b\n"
    assert list(parse_procfile(text).items()) == [
        ("web", "exec granian --port ${PORT:-1}"),
        ("worker", "exec dramatiq a:b"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("web", "line 1"), ("\nweb:", "line 2"), ("we b: x", "line 1"), ("web: x\nweb: y", "there twice")],
)
def test_malformed_line_is_refused_by_number(text, message):
    with pytest.raises(EmbeddedError, match=message):
        parse_procfile(text)


def test_the_projects_own_procfile_has_the_three_processes():
    assert set(read_procfile()) == {"web", "worker", "scheduler"}


def test_missing_procfile_is_an_explained_error(tmp_path):
    with pytest.raises(EmbeddedError, match="no Procfile"):
        read_procfile(tmp_path / "Procfile")
