"""A real browser for the tests: the machine's own Chromium or Chrome, driven by Playwright, without a window."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from course_lib.ops.reach import browser_program

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser with an empty profile. Skips the test where there is none; COURSE_REQUIRE_BROWSER=1 fails it instead."""
    program = browser_program()
    if program is None or not shutil.which(program):
        named = f"COURSE_BROWSER names {program}, which is no program" if program else "no Chromium or Chrome on PATH"
        said = f"{named} (Debian: apt install chromium; or set COURSE_BROWSER to its program)"
        if os.environ.get("COURSE_REQUIRE_BROWSER") == "1":
            pytest.fail(said)
        pytest.skip(said)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def watched(opened: Browser, **settings) -> Iterator[tuple[Page, list[str]]]:
    """A page in a context of its own (settings: of Playwright's `new_page`), and a list of what went wrong in it.

    The list grows with script errors, errors on the console, requests that fail, and requests to another host.
    """
    page, wrong = opened.new_page(**settings), []
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("request", lambda request: None if local(request.url) else wrong.append(f"away: {request.url}"))
    try:
        yield page, wrong
    finally:
        page.close()


def local(url: str) -> bool:
    """Whether this address is a file, data in the page itself, or a server on this machine."""
    address = urlsplit(url)
    return address.scheme in ("file", "data", "blob", "about") or address.hostname in ("127.0.0.1", "localhost", "::1")
