"""`astrocore up` and `astrocore stores`: run the system, or its embedded stores alone, in the foreground."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.settings import PREFIX, SettingsError

if TYPE_CHECKING:
    from app.embedded.launch import What
    from app.embedded.system import Options

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where stores, logs and the env file live; .astrocore unless set.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object when ready; progress goes to stderr.")
]


def up(
    data_dir: DataDir = None,
    demo: Annotated[
        bool,
        typer.Option("--demo/--no-demo", help="Fill a new data directory with demo data and reconcile it."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start everything: embedded stores for those without a URL, migrations, the Procfile's processes.

    Ctrl-C stops it.
    """
    from app.embedded.system import Options

    _run("up", data_dir, Options(demo=demo, as_json=as_json))


def stores(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Start the embedded stores alone, for tests, benchmarks and processes run by hand. Ctrl-C stops them."""
    from app.embedded.system import Options

    _run("stores", data_dir, Options(as_json=as_json))


def _run(what: "What", data_dir: Path | None, options: "Options") -> None:
    from app.embedded.errors import EmbeddedError
    from app.embedded.launch import run

    chosen = {} if data_dir is None else {f"{PREFIX}DATA_DIR": str(data_dir)}
    try:
        run(what, environ={**os.environ, **chosen}, options=options)
    except (EmbeddedError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
