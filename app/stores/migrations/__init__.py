"""Migrations of the core DB: each runs the statements of one SQL file."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from piccolo.engine.finder import engine_finder


def statements_of(name: str) -> Callable[[], Awaitable[None]]:
    """What runs the statements of a file of this folder, in the open transaction of `app.stores.migrate`."""

    async def run() -> None:
        engine = engine_finder()
        if engine is None:
            raise RuntimeError("migrations run through app.stores.migrate")
        for statement in Path(__file__).with_name(name).read_text().split(";\n"):
            if statement.strip():
                await engine.run_ddl(statement)

    return run
