"""What `./course` does about its caller's folder and home. Standard library only: it runs before there is a .venv.

Raises OSError with one sentence, which `./course` prints.
"""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

AT_HOME = {
    "JUPYTER_CONFIG_DIR": ".jupyter",
    "JUPYTER_DATA_DIR": ".local/share/jupyter",
    "JUPYTER_RUNTIME_DIR": ".local/share/jupyter/runtime",
    "IPYTHONDIR": ".ipython",
    "MPLCONFIGDIR": ".config/matplotlib",
}
"""The folders at home that Jupyter, IPython and Matplotlib write to, by the variable that moves each."""


def notebook(word: str) -> str:
    """The absolute path of a notebook that is named as seen from the caller's folder, or from the checkout's.

    Raises FileNotFoundError where it is in neither.
    """
    looked = [Path.cwd() / word, CHECKOUT / word]
    for path in looked:
        if path.exists():
            return str(path.parent.resolve() / path.name)
    raise FileNotFoundError("there is no " + " and no ".join(dict.fromkeys(map(str, looked))))


def homes(*, needed: bool) -> dict[str, str]:
    """Variables that move into .course/home what cannot be written at home; what the caller has set stays.

    Where neither can be written: raises OSError if `needed`, else returns nothing.
    """
    home, own = os.path.abspath(os.path.expanduser("~")), CHECKOUT / ".course" / "home"
    if os.path.isdir(home):
        unset = {variable: below for variable, below in AT_HOME.items() if not os.environ.get(variable)}
        moved = {each: str(own / below) for each, below in unset.items() if not _writable(os.path.join(home, below))}
    else:
        moved = {"HOME": str(own)}
    try:
        for folder in moved.values():
            os.makedirs(folder, exist_ok=True)
    except OSError:
        if needed:
            raise OSError(f"neither {home} nor {own} can be written; set HOME to a folder that can") from None
        return {}
    if moved:
        print(f"course: cannot write everywhere in {home}; using {own} for {', '.join(moved)}.", file=sys.stderr)
    return moved


def _writable(folder: str) -> bool:
    """Whether files can be made in this folder, or in the one where it would be made."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
