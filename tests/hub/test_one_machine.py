"""JupyterHub for a room on one machine: a real hub, two learners over its real API."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from course_lib.places import CHECKOUT
from tests.hub import rooms
from tests.hub.learner import Learner, solve, solved

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the test counts processes in /proc"),
    pytest.mark.skipif(not (CHECKOUT / ".git").exists() or not shutil.which("git"), reason="the edition needs a clone"),
]

PASSWORDS = {"ana": "ana's long one", "ben": "ben's own one", "eva": "eva's, for the room"}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rooms.Room]:
    rooms.node()
    made = rooms.Room(tmp_path_factory.mktemp("hub") / "room", learners=["ana", "ben"], instructors=["eva"], servers=2,
                      memory_mib=1536)  # fmt: skip
    try:
        yield made.start()
    finally:
        made.clear()


@pytest.fixture(scope="module")
def people(room: rooms.Room) -> Iterator[dict[str, Learner]]:
    """Everyone, logged in for the first time, which sets their passwords."""
    everyone = {name: Learner(room.url, name) for name in PASSWORDS}
    assert {name: each.login(PASSWORDS[name]) for name, each in everyone.items()} == dict.fromkeys(PASSWORDS, "")
    yield everyone
    for each in everyone.values():
        each.close()


@pytest.fixture(scope="module")
def at_work(people: dict[str, Learner]) -> dict[str, Learner]:
    """The two learners with their servers running."""
    learners = {name: people[name] for name in ("ana", "ben")}
    with ThreadPoolExecutor() as both:
        assert list(both.map(Learner.start, learners.values())) == ["", ""]
    return learners


def test_strangers_wrong_passwords_and_short_ones_are_told(room, people):
    assert Learner(room.url, "zoe").login("a long password") == "Invalid username or password"
    assert Learner(room.url, "ana").login(PASSWORDS["ben"]) == "Invalid username or password"
    assert Learner(room.url, "ana").login("x" * 500) == "Invalid username or password"
    assert Learner(room.url, "eva").login("") == "Invalid username or password"


def test_each_runs_a_notebook_in_a_folder_of_their_own(room, at_work):
    kernel = solve(at_work["ana"])
    here = "import os, course_lib; print(os.getcwd(), course_lib.__file__, os.environ['COURSE_NAME'])"
    mine = room.folder / "learners/ana"
    assert kernel.run(here).split() == [str(mine / "exercises"), str(mine / "course_lib/__init__.py"), "ana"]
    assert [solved(room.folder / "learners" / name / ".course/progress.json") for name in ("ana", "ben")] == [
        ["02.1"],
        [],
    ]
    other = at_work["ben"].kernel("exercises/02_loss_functions.ipynb")
    assert other.run("from course_lib.progress import progress; progress()").count("02.1") <= 1
    solve(at_work["ben"])
    assert solved(room.folder / "learners/ben/.course/progress.json") == ["02.1"]


def test_a_kernel_that_wants_more_memory_than_its_limit_gets_an_error_and_lives(at_work):
    kernel = at_work["ben"].kernel("notebooks/00_welcome.ipynb")
    with pytest.raises(RuntimeError, match="MemoryError"):
        kernel.run("held = bytearray(2 * 2**30)")
    assert kernel.run("held = bytearray(2**30); print(len(held))").strip() == str(2**30)


def test_live_cells_replay_and_libraries_keep_to_their_threads(at_work):
    told = at_work["ben"].kernel("notebooks/00_welcome.ipynb").run(
        "import os; print(os.environ['COURSE_REPLAY'], os.environ['OMP_NUM_THREADS'], os.nice(0))")  # fmt: skip
    assert told.split() == ["1", "2", str(os.nice(0) + 5)]


def test_no_learner_reaches_another_ones_server_and_a_full_room_says_so(people, at_work):
    assert at_work["ben"].ask("GET", "/user/ana/api/contents").status_code == 403
    assert at_work["ben"].ask("GET", "/hub/api/users/ana").status_code == 404
    assert "limit" in people["eva"].start()


def test_a_terminal_exports_the_progress(room, at_work):
    kernel = at_work["ana"].kernel("notebooks/00_welcome.ipynb")
    said = kernel.run("!cd $COURSE_FOLDER && ./course progress --export ana.json --name Ana")
    assert "exercises solved: " in said and (room.folder / "learners/ana/ana.json").exists(), said


def test_progress_is_kept_when_the_server_and_when_the_hub_start_again(room, at_work):
    ana, note = at_work["ana"], room.folder / "learners/ana/notebooks/mine.txt"
    note.write_text("mine")
    ana.stop()
    assert ana.start() == "" and solved(room.folder / "learners/ana/.course/progress.json") == ["02.1"]
    room.stop()
    assert room.processes() == []
    room.start()
    again = Learner(room.url, "ana")
    assert again.login("another password") == "Invalid username or password"
    assert again.login(PASSWORDS["ana"]) == "" and again.start() == ""
    kernel = again.kernel("exercises/02_loss_functions.ipynb")
    assert kernel.run("from course_lib.idioms import store; print(store.solved())").startswith("{'02.1'")
    again.close()
    assert note.read_text() == "mine" and ana.running, "a token outlives the hub, too"


def test_a_hub_that_was_killed_finds_its_learners_at_work(room, people):
    ana = people["ana"]
    if not ana.running:
        assert ana.start() == ""
    kernel = ana.kernel("notebooks/00_welcome.ipynb")
    kernel.run("kept = 42")
    room.stop(signal.SIGKILL)
    room.start()
    assert ana.running
    kernel = ana.kernel("notebooks/00_welcome.ipynb")  # the session is there: the same kernel
    assert kernel.run("print(kept)").strip() == "42"


def test_a_folder_that_cannot_be_made_is_told_to_the_learner(room, people):
    eva, edition = people["eva"], room.folder / "edition"
    edition.rename(room.folder / "away")
    try:
        assert "Your folder could not be made" in eva.start()
    finally:
        (room.folder / "away").rename(edition)
    assert not (room.folder / "learners/eva").exists()


def test_an_instructor_resets_a_password_and_the_folder_stays(room, people):
    ben, user = people["ben"], "/hub/api/users/ben"
    assert people["eva"].ask("DELETE", user).status_code == 204
    assert ben.login(PASSWORDS["ben"]) == "Invalid username or password"
    assert people["eva"].ask("POST", user).status_code == 201 and ben.login("another password") == ""
    assert solved(room.folder / "learners/ben/.course/progress.json") == ["02.1"]


def test_a_server_that_nobody_uses_is_stopped(room, people):
    ana = people["ana"]
    if not ana.running:
        assert ana.start() == ""
    settings = room.folder / "hub.toml"
    settings.write_text(settings.read_text() + "\nidle_minutes = 0.1\n")
    room.stop(signal.SIGKILL)  # so that servers go on
    room.start()
    ana.until(lambda: not ana.user["servers"], 60)
    assert solved(room.folder / "learners/ana/.course/progress.json") == ["02.1"]
    room.stop()
    time.sleep(0.5)
    assert room.processes() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "wrote a sample of the room's settings"),
        ('learners = ["ana"]', "expected at least one name under instructors"),
        ('learners = ["Ana Maria"]\ninstructors = ["eva"]', "got 'Ana Maria'"),
        ('learners = ["../eva"]\ninstructors = ["eva"]', "got '../eva'"),
        ('learners = ["ana", "ana"]\ninstructors = ["eva"]', "stands twice"),
        ('learners = ["eva"]\ninstructors = ["eva"]', "under learners and under instructors"),
        ('learners = "ana"\ninstructors = ["eva"]', "is a list of names"),
        ('learners = ["ana"]\ninstructors = ["eva"]\nport = "8000"', "port is a number above 0, got '8000'"),
        ('learners = ["ana"]\ninstructors = ["eva"]\nlive = 1', "live is true or false, got 1"),
        ('learners = ["ana"]\ninstructors = ["eva"]\nmemory = 3', "got memory"),
        ("learners = [", "cannot be read"),
    ],
)
def test_settings_that_are_wrong_are_told(tmp_path: Path, text: str | None, told: str):
    if text is not None:
        (tmp_path / "hub.toml").write_text(text)
    said = course_hub(tmp_path)
    assert said.returncode == 1 and told in said.stderr and said.stderr.count("\n") == 1, said.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["hub.toml"]


def test_a_folder_that_is_not_there_or_in_the_checkout_and_a_machine_without_node_are_told(tmp_path):
    assert "there is no folder" in course_hub(tmp_path / "nowhere").stderr
    assert "expected a folder outside of" in course_hub(CHECKOUT / "teaching").stderr
    (tmp_path / "hub.toml").write_text('learners = ["ana"]\ninstructors = ["eva"]')
    assert "node and npm is not on PATH" in course_hub(tmp_path, PATH=str(tmp_path)).stderr


def course_hub(folder: Path, **more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tools.hub", str(folder), "--check"]
    return subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, **more}, capture_output=True, text=True, timeout=120
    )
