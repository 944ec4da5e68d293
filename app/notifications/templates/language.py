"""The language of templates: a small part of Jinja's, in its sandbox, whose work is bounded.

A template shows data, chooses between texts and goes over lists. It cannot call, compute or keep anything, and sees no
attribute of a Python object. So what it does is bounded by its length, but for its loops, and what these come to is
counted. What it puts out is counted too, by whoever renders it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import BaseLoader, StrictUndefined, nodes, pass_context
from jinja2.exceptions import TemplateRuntimeError, TemplateSyntaxError
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from app.notifications.templates.formatting import FORMATTING

MOST_STEPS = 200_000
"""What all loops of one part of a mail may come to together: items, times the parts of the template within the loop.

What is compared, changed as a text or listed counts by its length too.
"""
BUDGET = "_budget"
LAYOUTS = {"html": "layout.html", "text": "layout.txt"}
"""What each part of a mail, but for its subject, has to extend."""

_NODES = frozenset(
    {
        nodes.Template, nodes.Extends, nodes.Include, nodes.Block, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Name,
        nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test, nodes.CondExpr, nodes.Compare, nodes.Operand,
        nodes.And, nodes.Or, nodes.Not,
    }
)  # fmt: skip
# Each takes time and space in proportion to what it is given.
_FILTERS = ("default", "first", "last", "length", "lower", "upper", "capitalize", "trim")
_TESTS = ("defined", "undefined", "none")
_COUNTED, _WEIGHED = "counted", "weighed"
# What takes time in proportion to what it is given: how many characters and items of that are a step.
_PER_STEP = {"listed": 1, **dict.fromkeys(("lower", "upper", "capitalize", "trim"), 200)}
_COMPARED = 200


@dataclass
class Budget:
    """What loops may still come to."""

    steps: int = MOST_STEPS

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise TemplateRuntimeError(f"loops come to more than {MOST_STEPS:,} steps")


class Language(ImmutableSandboxedEnvironment):
    """Compiles and fills in templates. What is rendered needs a `Budget` in its context, under `BUDGET`."""

    def __init__(self, loader: BaseLoader, *, escapes: bool) -> None:
        super().__init__(
            loader=loader,
            autoescape=escapes,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,  # of what is included
        )
        self.globals.clear()
        self.filters = {
            **{each: FILTERS[each] for each in _FILTERS},
            **FORMATTING,
            _COUNTED: _counted,
            _WEIGHED: _weighed,
        }
        self.tests = {each: TESTS[each] for each in _TESTS}

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,  # noqa: FBT001, FBT002  (Jinja's own signature)
    ) -> str:
        for node in list(source.find_all(nodes.Node)):
            _check(node, known={"filter": self.filters, "test": self.tests})
            if isinstance(node, nodes.For):
                steps = nodes.Const(sum(1 for _ in node.find_all(nodes.Node)))
                node.iter = _through(_COUNTED, node.iter, steps)
            elif isinstance(node, nodes.Filter) and node.name in _PER_STEP and node.node:
                node.node = _through(_WEIGHED, node.node, nodes.Const(_PER_STEP[node.name]))
            elif isinstance(node, nodes.Compare | nodes.Operand):
                node.expr = _through(_WEIGHED, node.expr, nodes.Const(_COMPARED))
        return super()._generate(source, name, filename, defer_init)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A member of an object of the data, or what a loop tells of itself."""
        if isinstance(obj, LoopContext):
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # says that it is undefined
        try:
            return obj[argument] if isinstance(obj, dict | list) else self._missing(obj, argument)
        except (LookupError, TypeError):
            return self._missing(obj, argument)

    def _missing(self, obj: Any, argument: Any) -> Undefined:
        return self.undefined(obj=obj, name=argument)


def extends(tree: nodes.Template, layout: str) -> bool:
    """Whether a template extends this layout, and so has everything that stands there alone."""
    first = next(tree.find_all(nodes.Extends), None)
    return first in tree.body and isinstance(first.template, nodes.Const) and first.template.value == layout


def _check(node: nodes.Node, *, known: Mapping[str, Mapping[str, Any]]) -> None:
    kind, line = type(node).__name__.lower(), node.lineno or 1
    if type(node) not in _NODES:
        raise TemplateSyntaxError(f"templates show data, choose and go over lists; they have no {kind}", line)
    if isinstance(node, nodes.Filter | nodes.Test) and node.name not in known[kind]:
        names = ", ".join(sorted(known[kind].keys() - {_COUNTED, _WEIGHED}))
        raise TemplateSyntaxError(f"there is no {kind} {node.name}; there are {names}", line)


def _through(name: str, node: nodes.Node, bound: nodes.Const) -> nodes.Filter:
    return nodes.Filter(node, name, [bound], [], None, None, lineno=node.lineno)


@pass_context
def _weighed(context: Context, value: Any, per_step: int) -> Any:
    context[BUDGET].spend(_weight(value) // per_step)
    return value


def _weight(value: Any) -> int:
    """Characters and items, however deep."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(name) + _weight(each) for name, each in value.items())
    return len(value) + sum(map(_weight, value)) if isinstance(value, list) else 1


@pass_context
def _counted(context: Context, items: Any, steps: int) -> Any:
    if isinstance(items, Undefined):
        str(items)  # says that it is undefined
    if not isinstance(items, list):
        raise TemplateRuntimeError("a loop goes over something that is no list")
    context[BUDGET].spend(len(items) * steps)
    return items
