"""A lesson that starts servers, killed, restarted, run twice and beside itself: nothing is left of it."""

import contextlib
import json
import os
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from course_lib.idioms import lesson
from course_lib.places import CHECKOUT
from tests.ops.stand_ins import left_of, posix

LAST = 'gateway = start("gateway", "--predictor", predictor.url, *behind, *patient)'
"""Up to here lesson 15 has begun, and has started four servers."""


class Kernel:
    """One in which lesson 15 is opened. processes, folders: what it has started and made."""

    def __init__(self, cells: list[str]) -> None:
        self.cells, self.processes, self.folders = cells, set(), set()
        self.manager, self.client = start_new_kernel(
            cwd=str(CHECKOUT / "notebooks"), env={**os.environ, "PYTHONPATH": str(CHECKOUT), "MPLBACKEND": "agg"}
        )

    def run(self, servers: int) -> None:
        """Runs the cells; so many servers are then there."""
        said = []
        for cell in [*self.cells, "print('folder', scratch)"]:
            reply = self.client.execute_interactive(
                cell, timeout=120, output_hook=lambda message: said.append(message["content"].get("text", ""))
            )
            assert reply["content"]["status"] == "ok", reply["content"]
        self.folders.add(Path("".join(said).rpartition("folder ")[2].strip()))
        started = psutil.Process(self.manager.provisioner.pid).children()
        assert len(started) == servers
        self.processes.update(psutil.Process(self.manager.provisioner.pid).children(recursive=True))

    def end(self, **how: bool) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(**how)


@pytest.fixture
def opened():
    """`opened()` begins a kernel, which is gone at the test's end."""
    book = json.loads((CHECKOUT / "notebooks" / "15_microservices.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(each["source"]) for each in book["cells"] if each["cell_type"] == "code"]
    cells = cells[1 : next(i for i, cell in enumerate(cells) if LAST in cell) + 1]  # without Colab's
    with contextlib.ExitStack() as kernels:

        def begin() -> Kernel:
            kernel = Kernel(cells)
            kernels.callback(kernel.manager.shutdown_kernel, now=True)
            return kernel

        yield begin


@posix
def test_of_a_lesson_killed_restarted_run_twice_and_beside_itself_nothing_is_left(opened):
    killed = opened()
    killed.run(servers=4)
    killed.end(now=True)
    assert left_of(killed.processes) == []

    one, other = opened(), opened()
    one.run(servers=4)
    other.run(servers=4)
    one.manager.restart_kernel()
    one.client.wait_for_ready(timeout=60)
    assert all(each.is_running() for each in other.processes), "the other's servers go on"
    assert left_of(one.processes) == []
    one.run(servers=4)
    one.run(servers=8)
    one.end()
    other.end()
    assert left_of(one.processes | other.processes) == []
    folders = killed.folders | one.folders | other.folders
    assert len(folders) == 5 and {folder.parent for folder in folders} == {lesson.SCRATCH}
    assert [str(path) for folder in folders for path in folder.parent.glob(f"{folder.name}*")] == []
