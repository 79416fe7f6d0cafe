"""The book, built once for all of its tests, and what was seen of its pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.ops.reach import browser_program
from course_lib.places import CHECKOUT
from tests.site import visit
from tools.environments import NotInstalled
from tools.site import run
from tools.site.__main__ import HTML, SITE


def absent(why: str) -> None:
    """Skips where something is out of reach; COURSE_REQUIRE_BROWSER=1 fails instead."""
    pytest.fail(why) if os.environ.get("COURSE_REQUIRE_BROWSER") == "1" else pytest.skip(why)


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built book. What `./course site` says is off fails the tests."""
    try:
        run.MATHJAX.fetched(SITE / "files", run.python())
    except (NotInstalled, run.Unreachable) as why:
        absent(f"the book cannot be built now: {why}")
    made = subprocess.run([sys.executable, "-m", "tools.site"], cwd=CHECKOUT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return HTML


@pytest.fixture(scope="session")
def seen(html: Path) -> visit.Visit:
    """Every page, as a browser shows it."""
    try:
        axe = visit.AXE.fetched(SITE / "tests")
    except run.Unreachable as why:
        absent(str(why))
    if browser_program() is None:
        absent("no Chromium or Chrome on PATH (Debian: apt install chromium; or set COURSE_BROWSER to its program)")
    return visit.every_page(html, axe)
