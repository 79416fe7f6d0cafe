"""What stands between this machine and a project's code. Standard library and NumPy alone, run by its path:

python -I cage.py run COMMAND …    without a network but localhost, and with processes that end together (Linux)
python -I cage.py walls            which of the two hold here, as JSON
python -P cage.py ask QUESTION     in a project's folder: calls the functions of its files, see `ask`
"""

import ctypes
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

OFFLINE = Path(__file__).parents[2] / "tools/offline.py"
NEW_PROCESSES, DIE_WITH_PARENT = 0x20000000, 1  # linux/sched.h, linux/prctl.h
WALLS = ("network", "processes")


def command(*words: str) -> list[str]:
    """The command that runs these words in the cage."""
    return [sys.executable, "-I", __file__, "run", *words]


def close() -> list[str]:
    """Puts this process into what the machine offers; returns the walls that now stand. The next child is number 1."""
    stand = []
    if not sys.platform.startswith("linux"):
        return stand
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        runpy.run_path(str(OFFLINE))["cut"]()
        stand.append("network")
    except OSError:
        pass
    if not libc.unshare(NEW_PROCESSES):
        stand.append("processes")
    return stand


def run(words: list[str]) -> int:
    """Runs the words behind the walls; whatever they have started ends with them."""
    if os.name == "nt":  # there execvp leaves its caller behind as ended
        return subprocess.call(words)
    if not close():
        os.execvp(words[0], words)
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        os.execvp(words[0], words)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ask(question: Path) -> None:
    """Calls the project's functions on arrays and writes what they return.

    question: a .npz file. `what` names the question; rows are raw rows. The answer is written beside it, ANSWER.npz.
    original: rows → probabilities. drift: windows (W, N, …), one after the other → alarms (W,). explain: rows,
    background → attributions (N, …) of the original model, `blind` ones of a model that ignores its input, and for six rows
    those of models that ignore the first or the second half of the numbers.
    """
    import numpy as np

    sys.path.insert(0, os.getcwd())
    with np.load(question) as asked:
        asked = dict(asked)
    what = str(asked.pop("what"))
    found = {}
    if what == "original":
        from original import predict

        found["probabilities"] = np.asarray(predict(asked["rows"]), np.float64)
    elif what == "drift":
        from drift import alarm

        found["alarms"] = np.array([bool(alarm(each)) for each in asked["windows"]])
    elif what == "explain":
        from explain import explain
        from original import predict

        width = np.asarray(predict(asked["rows"][:1])).shape[1]
        blind = lambda rows: np.full((len(rows), width), 1 / width)  # noqa: E731
        middle = asked["background"].size // 2

        def without(part: slice):
            def model(rows):
                flat = np.array(rows, float).reshape(len(rows), -1)
                flat[:, part] = asked["background"].ravel()[part]
                return predict(flat.reshape(np.shape(rows)))

            return model

        halves = {"no_first": without(slice(None, middle)), "no_second": without(slice(middle, None))}
        for name, model in {"attributions": predict, "blind": blind, **halves}.items():
            rows = asked["rows"][: 6 if name in halves else None]
            each = [np.asarray(explain(model, row.copy(), asked["background"].copy())) for row in rows]
            found[name] = np.array(each, np.float64)
    np.savez(question.with_name("answer.npz"), **found)


if __name__ == "__main__":
    verb, words = sys.argv[1], sys.argv[2:]
    if verb == "walls":
        print(json.dumps(close()))
    elif verb == "ask":
        ask(Path(words[0]))
    else:
        sys.exit(run(words))
