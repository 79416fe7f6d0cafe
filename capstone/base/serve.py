"""Starts the server with the options of server.toml; what follows on the command line comes last and so wins."""

import sys
import tomllib
from pathlib import Path

from course_lib.serving import __main__ as server

HERE = Path(__file__).parent


class Talkative(server.App):
    """Helped to find a mistake last week."""

    def take(self, request):
        print(request.method, request.path, request.body, flush=True)
        super().take(request)


server.App = Talkative


def options() -> list[str]:
    """The options of server.toml, as the command line has them."""
    settings = tomllib.loads((HERE / "server.toml").read_text(encoding="utf-8"))
    return [f"--{name}={value}" for name, value in settings.items()]


if __name__ == "__main__":
    sys.exit(server.main(options() + sys.argv[1:]))
