"""What all unit tests share: nothing of the learner's own is touched."""

import pytest

from course_lib import places
from course_lib.idioms import exercises, guesses, ledger, lesson, store
from course_lib.ops import names


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    """Each test keeps progress in a folder of its own, and starts without hints, rows or a lesson."""
    monkeypatch.setattr(places, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(places, "PROGRESS", tmp_path / "kept" / "progress.json")
    monkeypatch.setattr(places, "RECORDINGS", tmp_path / "recordings")
    monkeypatch.setattr(lesson, "_current", "01")
    monkeypatch.setattr(exercises, "_hints_given", {})
    monkeypatch.setattr(ledger, "_own", {})
    monkeypatch.setattr(guesses, "_asked", {})
    monkeypatch.setattr(guesses, "_unkept", {})
    monkeypatch.setattr(store, "_said", set())
    monkeypatch.setattr(names, "_held", {})
    for name in ("COURSE_STRICT", "COURSE_RECORD", "COURSE_REQUIRE_LIVE", "COURSE_REQUIRE_OFFLINE", "COURSE_LIVE_LOG",
                 "COURSE_REPLAY", "COURSE_NAME"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
