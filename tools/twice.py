"""A pytest plugin: nbval runs each code cell twice in a row, since a learner who runs a cell again must not be stopped.

Exceptions stand in tests/once.toml, each with its reason.
"""

import tomllib
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from course_lib.places import CHECKOUT

EXCEPTIONS = CHECKOUT / "tests" / "once.toml"


def run_once(notebook: str, source: str) -> bool:
    """Whether this cell of a notebook (its stem) is excepted: an entry's `cell` is a line of it."""
    entries = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8")).get("cell", [])
    return any(each["notebook"] == notebook and each["line"] in source.splitlines() for each in entries)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Runs the cell a first time; pytest then runs it as ever."""
    if isinstance(item, IPyNbCell) and not run_once(Path(item.path).stem, item.cell.source):
        item.runtest()
