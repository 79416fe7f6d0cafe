"""What a kernel has started ends with it, however it ends, in whatever state that was."""

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from course_lib import models
from course_lib.ops import leash
from course_lib.places import CHECKOUT
from tests.ops.stand_ins import left_of, living, posix, stand_in

# Each of the four waits, once it is told to end, until the others have been told as well. One of them is stopped before.
TOGETHER = """
import signal, sys, time
from pathlib import Path
folder, mine = Path(sys.argv[1]), sys.argv[2]
def told(*_):
    (folder / f"told-{mine}").touch()
    until = time.monotonic() + 60
    while len(list(folder.glob("told-*"))) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    (folder / f"ended-{mine}").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
(folder / f"ready-{mine}").touch()
while True:
    signal.pause()
"""

FOUR_TOGETHER = f"""
import signal, sys, time
from pathlib import Path
from course_lib.ops import leash
folder = Path(sys.argv[1])
running = [leash.start([sys.executable, "-c", {TOGETHER!r}, str(folder), str(i)]) for i in range(4)]
while len(list(folder.glob("ready-*"))) < 4:
    time.sleep(0.02)
running[0].send_signal(signal.SIGSTOP)
print("ready", flush=True)
sys.stdin.readline()
"""

FOUR_SERVERS = """
import signal, sys, time
from pathlib import Path
from course_lib.ops import leash
from course_lib.ops.http import answers
from course_lib.ops.service import start_service
folder = Path(FOLDER)
def server(name, *options):
    return start_service(folder / "models", folder / f"{name}.log", options=options)
idle, draining, stopped = server("idle"), server("draining", "--drain-seconds", "60"), server("stopped")
draining.process.terminate()
while answers(draining.url + "/v2/health/ready"):
    time.sleep(0.02)
stopped.process.send_signal(signal.SIGSTOP)
starting = leash.start(["-m", "course_lib.serving", "--models", str(folder / "models"), "--port", "0"])
print("ready", flush=True)
"""


def those_of(number):
    return psutil.Process(number).children(recursive=True)


@pytest.fixture
def python():
    """`python(code, *arguments)` stands for a kernel: returns its process once it has said that it is ready."""
    started, theirs = contextlib.ExitStack(), []

    def start(code, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.enter_context(process)
        started.callback(process.kill)
        assert process.stdout.readline() == "ready\n"
        theirs.extend(those_of(process.pid))
        return process

    with started:
        yield start
    for each in living(theirs):
        each.kill()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models" / "digits" / "1").mkdir(parents=True)
    shutil.copy(models.path("digits_cnn", 3), tmp_path / "models" / "digits" / "1" / "model.onnx")
    return tmp_path


def die(kernel, how):
    if how == "exit":
        kernel.stdin.close()
    else:
        kernel.send_signal(how)


@posix
@pytest.mark.parametrize("how", ["exit", signal.SIGTERM, signal.SIGKILL])
def test_all_that_a_kernel_started_is_told_to_end_at_once(python, tmp_path, how):
    kernel = python(FOUR_TOGETHER, tmp_path)
    theirs = those_of(kernel.pid)
    assert len(theirs) == 8, "four, and one beside each"
    die(kernel, how)
    assert left_of(theirs) == []
    assert len(list(tmp_path.glob("ended-*"))) == 4, "one was killed: stopped, or waiting for the others to be told"


@posix
@pytest.mark.parametrize("how", ["exit", signal.SIGTERM, signal.SIGKILL])
def test_idle_draining_stopped_or_starting_no_server_outlives_its_kernel(python, folder, how):
    kernel = python(f"{FOUR_SERVERS.replace('FOLDER', repr(str(folder)))}\nsys.stdin.readline()")
    theirs = those_of(kernel.pid)
    assert len(theirs) >= 7
    die(kernel, how)
    assert left_of(theirs) == []


@posix
def test_a_process_that_the_kernel_forked_keeps_nothing_running(python, tmp_path):
    forks = "import os\nif not os.fork():\n    time.sleep(600)\nprint("
    kernel = python(FOUR_TOGETHER.replace("print(", forks), tmp_path)
    forked, *others = sorted(those_of(kernel.pid), key=lambda each: each.cmdline()[-2] == str(tmp_path))
    assert len(others) == 8 and forked.ppid() == kernel.pid
    kernel.kill()
    kernel.wait()
    assert left_of(others) == [] and living([forked])


@posix
def test_a_command_that_does_not_hear_is_killed(tmp_path):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    hasty = "import sys; from course_lib.ops import leash; leash.GRACE_SECONDS = 0.1; leash._become(sys.argv[1:])"
    command = [sys.executable, "-c", hasty, sys.executable, "-c", deaf]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(40) == -signal.SIGKILL
    process = leash.start([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    process.stdout.readline()
    leash.end([process], 0.1)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL


# A kernel of Jupyter's


@pytest.fixture
def jupyter():
    """A kernel, and how to run code in it until it says that it is ready."""
    manager, client = start_new_kernel(cwd=str(CHECKOUT), env={**os.environ, "PYTHONPATH": str(CHECKOUT)})

    def run(code):
        client.execute(code)
        while True:
            message = client.get_iopub_msg(timeout=60)
            assert message["msg_type"] != "error", message["content"]["traceback"]
            if "ready" in message["content"].get("text", ""):
                return those_of(manager.provisioner.pid)

    yield manager, client, run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@posix
@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_a_kernel_that_jupyter_restarts_or_kills_takes_its_servers_along(jupyter, folder, how):
    manager, _, run = jupyter
    theirs = run(FOUR_SERVERS.replace("FOLDER", repr(str(folder))))
    assert len(theirs) >= 7
    manager.restart_kernel() if how == "restarted" else manager.shutdown_kernel(now=True)
    assert left_of(theirs) == []


@posix
def test_interrupting_a_cell_leaves_its_server_running(jupyter, folder):
    manager, client, run = jupyter
    start = FOUR_SERVERS.replace("FOLDER", repr(str(folder))).partition("idle, ")[0]
    (server, _) = run(f"{start}\nrunning = server('running')\nprint('ready')")
    client.execute("print('busy', flush=True); time.sleep(60)", stop_on_error=False)
    while "busy" not in client.get_iopub_msg(timeout=60)["content"].get("text", ""):
        pass
    manager.interrupt_kernel()
    while client.get_iopub_msg(timeout=60)["msg_type"] != "error":
        pass
    run("time.sleep(0.5); assert answers(running.url + '/v2/health/ready'); print('ready')")
    run("running.stop(); assert running.process.returncode == 0; print('ready')")
    assert left_of([server]) == []


@posix
def test_a_start_that_is_interrupted_leaves_no_server(jupyter, folder):
    manager, client, run = jupyter
    start = FOUR_SERVERS.replace("FOLDER", repr(str(folder))).partition("idle, ")[0]
    never = "from course_lib.ops import service; service.answers = lambda url: print('busy', flush=True)"
    run(f"{start}\n{never}\nprint('ready')")
    client.execute("server('never')")
    while "busy" not in client.get_iopub_msg(timeout=60)["content"].get("text", ""):
        pass
    theirs = those_of(manager.provisioner.pid)
    manager.interrupt_kernel()
    assert theirs and left_of(theirs) == [] and manager.is_alive()


# Programs that are not the course's


@posix
def test_a_program_of_others_ends_with_the_kernel(python, tmp_path, monkeypatch):
    stand_in(tmp_path, "kubectl", 'echo "Forwarding from 127.0.0.1:41235 -> 8501"; exec sleep 600')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    kernel = python("""
from course_lib.ops.kubernetes import port_forward
from course_lib.ops.watch import watching
import sys
with port_forward("here", "service/digits", 80), watching("here", "pods", dict):
    print("ready", flush=True)
    sys.stdin.readline()
""")
    theirs = []
    while sum(each.name() == "sleep" for each in theirs) < 2:
        theirs = those_of(kernel.pid)
    kernel.kill()
    assert left_of(theirs) == []


@posix
def test_a_fresh_interpreter_ends_with_the_kernel(python):
    kernel = python("""
import sys, threading, time, psutil
from course_lib.measure import fresh_process
threading.Thread(target=fresh_process, args=("import time; time.sleep(600)",), daemon=True).start()
while not psutil.Process().children():
    time.sleep(0.02)
print("ready", flush=True)
sys.stdin.readline()
""")
    theirs = those_of(kernel.pid)
    kernel.kill()
    assert theirs and left_of(theirs) == []


@posix
def test_a_program_that_is_not_there_ends_with_127_and_says_so(tmp_path):
    with (tmp_path / "said").open("wb") as output:
        process = leash.start(["no-such-program"], stderr=output)
        assert process.wait(40) == 127
    leash.end([process])
    assert "no-such-program: No such file" in (tmp_path / "said").read_text()


def test_where_a_process_cannot_become_another_the_command_ends_with_the_pipe_too(tmp_path):
    beside = "import sys; from course_lib.ops import leash; leash._run_beside(sys.argv[1:])"
    for command in (["-m", "tests.ops.test_leash"], [sys.executable, "-c", "import time; time.sleep(600)"]):
        with subprocess.Popen([sys.executable, "-c", beside, *command], cwd=CHECKOUT, stdin=subprocess.PIPE) as process:
            children = those_of(process.pid)
            process.stdin.close()
            assert process.wait(40)
            assert left_of(children) == []


def test_whatever_starts_a_process_holds_a_pipe_that_ends_it():
    found = {}
    for path in [*(CHECKOUT / "course_lib").rglob("*.py"), *(CHECKOUT / "source").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "Popen":
                given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                found[f"{path.name}:{node.lineno}"] = given.get("stdin", "no stdin")
    pipes = {"subprocess.PIPE", "pipe", "subprocess.DEVNULL"}  # the last: a child of the leash's, on Windows
    assert len(found) >= 3 and {where: stdin for where, stdin in found.items() if stdin not in pipes} == {}
