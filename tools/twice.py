"""A pytest plugin: nbval runs each code cell twice in a row, since a learner who runs a cell again must not be stopped.

Exceptions stand in tests/once.toml, each with its reason.
"""

import tomllib
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

EXCEPTIONS = "tests/once.toml"


def exceptions(checkout: Path) -> list[dict[str, str]]:
    """The entries: each has `notebook`, a stem; `line`, a whole line of the cell that is meant; `reason`."""
    path = checkout / EXCEPTIONS
    return tomllib.loads(path.read_text(encoding="utf-8")).get("cell", []) if path.exists() else []


def unfounded(checkout: Path) -> list[str]:
    """What is wrong with the exceptions, a sentence each: without a reason, or about no cell of a source."""
    wrong = []
    for each in exceptions(checkout):
        if each.keys() != {"notebook", "line", "reason"} or not each["reason"].strip():
            wrong.append(f"{EXCEPTIONS}: an entry has notebook, line and reason, none of them empty; got {each}")
            continue
        sources = [checkout / "source" / kind / f"{each['notebook']}.py" for kind in ("notebooks", "solutions")]
        lines = {line for path in sources if path.exists() for line in path.read_text(encoding="utf-8").splitlines()}
        if each["line"] not in lines:
            wrong.append(f"{EXCEPTIONS}: no cell of {each['notebook']} has the line {each['line']!r}")
    return wrong


def run_once(cell: IPyNbCell) -> bool:
    """Whether a cell is excepted."""
    notebook = Path(cell.path)
    lines = cell.cell.source.splitlines()
    entries = exceptions(notebook.parent.parent)
    return any(each["notebook"] == notebook.stem and each["line"] in lines for each in entries)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Runs the cell a first time; pytest then runs it as ever. Should that fail, its report says that it was the second."""
    if isinstance(item, IPyNbCell) and not run_once(item):
        item.runtest()
        item.add_report_section("call", "twice", f"This was its second run: the first passed. See {EXCEPTIONS}.")
