"""One form for every benchmark: a figure, the limit measured in the same run, their ratio and the goal."""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """`ratio` is value / limit, the median over pairs measured in turn; `ok` whether it reaches the goal.

    `spread` is the least and the greatest of the ratios. A figure without a limit has no ratio.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    goal: str = ""
    ok: bool = True

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    def as_text(self) -> str:
        parts = [f"{self.name:<56}{_shown(self.value):>12} {self.unit:<12}"]
        if self.limit is not None:
            parts.append(f"limit {_shown(self.limit)} ({self.limit_name})")
        if self.ratio is not None:
            parts.append(f"ratio {self.ratio:.3f}")
        if self.spread is not None:
            parts.append(f"[{self.spread[0]:.3f} to {self.spread[1]:.3f}]")
        if self.goal:
            parts.append(f"goal {self.goal}: {'reached' if self.ok else 'MISSED'}")
        return "  ".join(parts)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def compare(
    name: str,
    unit: str,
    pairs: list[tuple[float, float]],
    *,
    limit_name: str,
    goal: str,
    reached: Callable[[float], bool],
) -> Figure:
    """A figure from (value, limit) pairs that were measured in turn."""
    ratios = [value / limit for value, limit in pairs]
    ratio = statistics.median(ratios)
    return Figure(
        name=name,
        value=statistics.median(value for value, _limit in pairs),
        unit=unit,
        limit=statistics.median(limit for _value, limit in pairs),
        limit_name=limit_name,
        ratio=ratio,
        spread=(min(ratios), max(ratios)),
        goal=goal,
        ok=reached(ratio),
    )


def say(text: str) -> None:
    """Tell on the terminal what is being done; standard output is for the figures."""
    print(f"  … {text}", file=sys.stderr, flush=True)
