"""Starts the server with the options of server.toml; what follows on the command line comes last and so wins."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def options() -> list[str]:
    """The options of server.toml, as the command line has them."""
    settings = tomllib.loads((HERE / "server.toml").read_text(encoding="utf-8"))
    return [f"--{name}={value}" for name, value in settings.items()]


if __name__ == "__main__":
    from course_lib.serving.__main__ import main

    sys.exit(main(options() + sys.argv[1:]))
