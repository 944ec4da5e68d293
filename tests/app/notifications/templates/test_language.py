"""Templates cannot reach out, and cannot work for ever."""

import contextlib

import pytest

from app.notifications.templates.language import MOST_STEPS
from app.notifications.templates.rendering import RenderingError, faults_in_part, render
from tests.app.notifications.contents import content

NESTED = "{% for a in items %}{% for b in items %}{% for c in items %}{% endfor %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for each in range(1000000000) %}{% endfor %}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ 1 + 1 }}",
        "{{ 'x' ~ name }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ name.replace('a', 'b' ) }}",
        "{{ name | replace('a', 'bbbb') }}",
        "{{ name | center(1000000000) }}",
        "{{ name | join(name) }}",
        "{{ name | safe }}",
        "{{ [name, name] }}",
        "{{ {'a': name} }}",
        "{{ lipsum(n=100000) }}",
        "{% set x = name %}",
        "{% macro f() %}{{ f() }}{% endmacro %}",
        "{% for each in items recursive %}{{ loop(items) }}{% endfor %}",
        "{% autoescape false %}{{ name }}{% endautoescape %}",
        "{% import 'layout.html' as x %}",
        "{{ self.content() }}",
        "{{ super() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ name is callable }}",
        "{{ name | attr('x') }}",
        "{{ name[::1] }}",
        "{% if name %}",
        "{{ name | }}",
    ],
)
def test_what_reaches_out_or_may_run_away_does_not_compile(source: str) -> None:
    refused = faults_in_part(
        "html", f'{{% extends "layout.html" %}}{{% block content %}}{source}{{% endblock %}}', where="it"
    )
    if source.startswith("{{ ''"):  # data have no such attributes, and that is all there is to it
        with pytest.raises(RenderingError):
            render(content(source), {"name": "x"})
    else:
        assert len(refused) == 1
        assert refused[0].message.startswith("line ")


def test_loops_within_loops_end() -> None:
    for items in ([1] * 30_000, [1] * 60):
        with pytest.raises(RenderingError) as error:
            render(content(NESTED), {"name": "x", "items": items})
        assert f"{MOST_STEPS:,} steps" in error.value.faults[0].message
    render(content(NESTED), {"name": "x", "items": [1] * 20})


def test_a_loop_counts_as_much_as_what_stands_in_it() -> None:
    for times, ends in ((10, False), (1000, True)):
        shown = "{% for each in items %}" + "{% if not each %}x{% endif %}" * times + "{% endfor %}"
        with pytest.raises(RenderingError) if ends else contextlib.nullcontext():
            render(content(shown), {"name": "x", "items": [1] * 1000})


@pytest.mark.parametrize("deep", ["(" * 5000 + "name" + ")" * 5000, "not " * 5000 + "name"])
def test_what_is_nested_too_deep_does_not_compile(deep: str) -> None:
    assert faults_in_part("subject", f"{{{{ {deep} }}}}", where="it")[0].message == "is nested too deep"
    blocks = "{% if name %}" * 500 + "{% endif %}" * 500
    assert faults_in_part("subject", blocks, where="it")[0].message == "is nested too deep"


def test_members_of_data_come_before_what_python_calls_so() -> None:
    mail = render(
        content("{{ o.items }} {{ o.keys }} {{ l[0] }}"),
        {"name": "", "o": {"items": "A", "keys": "B"}, "l": ["C"]},
    )
    assert mail.text.startswith("A B C\n")


def test_loops_tell_where_they_are() -> None:
    shown = "{% for each in items %}{{ loop.index }}/{{ loop.length }}{% if not loop.last %}, {% endif %}{% else %}-{% endfor %}"
    assert render(content(shown), {"name": "", "items": ["a", "b"]}).text.startswith("1/2, 2/2\n")
    assert render(content(shown), {"name": "", "items": []}).text.startswith("-\n")


@pytest.mark.parametrize(
    "source", ["Hello", "{% block content %}{% endblock %}", '{% extends "layout.txt" %}', "{% extends name %}", '{% if name %}{% extends "layout.html" %}{% endif %}']
)  # fmt: skip
def test_a_part_without_the_layout_of_all_mails_is_refused(source: str) -> None:
    assert [each.message for each in faults_in_part("html", source, where="it")] == [
        'must begin with {% extends "layout.html" %}'
    ]


@pytest.mark.parametrize(
    "costly",
    [
        "{% if name | upper == '' %}{% endif %}",
        "{% if name | trim('a') == '' %}{% endif %}",
        "{% if name == name %}{% endif %}",
        "{% if 'b' in name %}{% endif %}",
        "{% if each in items %}{% endif %}",
        "{% if items | listed == '' %}{% endif %}",
    ],
)
def test_what_is_long_counts_for_as_much(costly: str) -> None:
    data = {"name": "a" * 40_000, "items": ["xyz"] * 4000}
    with pytest.raises(RenderingError) as error:
        render(content(f"{{% for each in items %}}{costly}{{% endfor %}}"), data)
    assert {each.message for each in error.value.faults} == {f"loops come to more than {MOST_STEPS:,} steps"}


def test_only_a_list_is_listed() -> None:
    with pytest.raises(RenderingError) as error:
        render(content("{{ name | listed }}"), {"name": "abc"})
    assert error.value.faults[0].message == "the filter listed was given what is no list"
