"""`python -m app.embedded up|stores [PROCFILE]`: what `EmbeddedStores` runs.

It prints one JSON object when ready, and stops when its standard input is closed.
"""

import os
import sys
from pathlib import Path

from app.embedded.errors import EmbeddedError
from app.embedded.launch import run
from app.embedded.system import Options
from config.settings import SettingsError


def main() -> int:
    what, *procfile = sys.argv[1:]
    options = Options(as_json=True, lifeline=True, procfile=Path(procfile[0]) if procfile else None)
    try:
        run("up" if what == "up" else "stores", environ=os.environ, options=options)
    except (EmbeddedError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
