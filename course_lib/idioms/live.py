"""`live`: a function that does something real on a Docker engine, a Kubernetes cluster or in a browser, or replays it.

    @live("docker")
    def build(): ...; return {"seconds": ...}

With what it names within reach, calling it runs it. Without, the data that it once returned comes back, under a banner
that says that it is a recording, of what and from when. Claims and figures over the data are ordinary cells and are
always computed. COURSE_RECORD=1 keeps what a live run returned; COURSE_REQUIRE_LIVE=1 makes a missing engine an error;
COURSE_REPLAY=1 replays although an engine is there (in a room without internet, where an image cannot be built, say).
An engine that stops in the midst of a lesson is one that is missing from there on. The first banner of a lesson says all
that there is to say, the later ones what is new.
"""

import functools
import hashlib
import inspect
import json
import os
import textwrap
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

from course_lib import places, show
from course_lib.idioms.lesson import current
from course_lib.ops import hang, names, reach

HOW_TO = "To run it live: start what is missing (`./course doctor` says how) and run the lesson from its top."
HOW_TO_END_REPLAY = "To run it live: `import os; del os.environ['COURSE_REPLAY']`, then run the lesson from its top."

_replayed: list[object] = []
_acted: set[str] = set()
"""The lessons in which a live function was called for real, whatever became of it."""

_tellers: dict[tuple[str, str], str] = {}
"""Which live function's banner told something in a lesson: told once, and again where that one is called again."""


class NotLive(RuntimeError):
    """A live function can neither run here nor be replayed."""


def live(*needs: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Marks a function as one that runs on the real thing.

    needs: "docker", "kubernetes", "browser", or several. The function takes no arguments and returns data that JSON can hold.
    Calling it raises NotLive where neither the real thing nor a recording is there, and where COURSE_REQUIRE_LIVE=1
    and the real thing is not; TypeError where the function takes arguments or returns what JSON cannot hold.
    """
    unknown = [need for need in needs if need not in reach.PROBES]
    if unknown or not needs:
        raise ValueError(
            f"expected {' or '.join(reach.PROBES)} for what runs a live function, got {unknown or 'nothing'}"
        )

    def mark(function: Callable[[], object]) -> Callable[[], object]:
        if inspect.signature(function).parameters:
            raise TypeError(f"{function.__name__}: a live function takes no arguments, since its recording knows none")

        @functools.wraps(function)
        def run() -> object:
            if os.environ.get("COURSE_REPLAY") == "1":
                return _replay(function, ["COURSE_REPLAY=1 asks for the recording"], HOW_TO_END_REPLAY)
            missing = _missing(needs)
            if not missing:
                return _run(function, needs)
            if os.environ.get("COURSE_REQUIRE_LIVE") == "1":
                raise NotLive(f"{function.__name__} must run live here (COURSE_REQUIRE_LIVE=1), but {_and(missing)}")
            return _replay(function, missing, HOW_TO)

        return run

    return mark


def recorded(lesson: str, name: str) -> object:
    """What another lesson's live function returned when it was recorded, under a banner that says so.

    Raises NotLive where no recording of it is kept.
    """
    path = recording_path(lesson, name)
    if not path.exists():
        raise NotLive(f"expected the recording {path.name} in source/recordings/{lesson}, and it is not there")
    kept = json.loads(path.read_text(encoding="utf-8"))
    what = f"Not run here: this is what `{name}` of lesson {lesson} returned on {kept['recorded']}."
    show.put(show.card("◷", show.ORANGE, what, f"{_on(kept['engines'])}.", label="recording"))
    _replayed.append(kept["data"])
    return kept["data"]


def recording_path(lesson: str, name: str) -> Path:
    """Where the recording of a lesson's live function is kept."""
    return places.RECORDINGS / lesson / f"{name}.json"


def source_hash(source: str) -> str:
    """A fingerprint of a function's source, its indentation and trailing spaces aside."""
    lines = [line.rstrip() for line in textwrap.dedent(source).strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _missing(needs: tuple[str, ...], fresh: bool = False) -> list[str]:
    """Why what is needed is not within reach, a clause each; empty where all of it is."""
    found = [reach.probe(need, fresh) for need in needs]
    return [each.reason for each in found if not each.there]


def _run(function: Callable[[], object], needs: tuple[str, ...]) -> object:
    _warn_of_others(function, needs)
    _acted.add(current())
    try:
        with hang.broken_off(needs):
            data = function()
    except Exception as wrong:
        gone = [] if os.environ.get("COURSE_REQUIRE_LIVE") == "1" else _missing(needs, fresh=True)
        if gone:
            return _replay(function, gone, HOW_TO, wrong)
        what = f"This ran for real and failed: {type(wrong).__name__}."
        how = "Its message is below. To go on with the recording: `import os; os.environ['COURSE_REPLAY'] = '1'`, and again."
        show.put(show.card("✗", show.RED, what, how, label="live"))
        raise
    try:
        data = json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as wrong:
        raise TypeError(f"{function.__name__} must return data that JSON can hold: {wrong}") from None
    engines = {need: reach.probe(need).version for need in needs}
    stand_ins = reach.stand_ins(needs)
    if os.environ.get("COURSE_RECORD") == "1":
        _keep(function, engines, stand_ins, data)
    log_mode(function.__name__, "live")
    details = _untold(function, "live", [(_on(engines), engines.values()), *((each, [each]) for each in stand_ins)])
    what = "This ran for real, here and now." if details else f"`{function.__name__}` ran for real."
    show.put(show.card("▶", show.GREEN, what, *details, label="live"))
    return data


def _warn_of_others(function: Callable[[], object], needs: tuple[str, ...]) -> None:
    """Says, once a lesson and before anything is done, that others may use the cluster."""
    context = reach.shared_context() if "kubernetes" in needs else ""
    if not context:
        return
    does = (
        f"You allowed it (COURSE_CONTEXT={context}). The lesson makes a namespace whose name ends in "
        f"{names.own('', current())}, works in it alone, and removes it at the end. It also reads the list of nodes."
    )
    what = f"The cluster of the context {context} is not on this machine: others may use it."
    for each in _untold(function, "shared", [(does, [context])]):
        show.put(show.card("!", show.ORANGE, what, each, label="shared cluster"))


def _untold(function: Callable[[], object], mode: str, told: list[tuple[str, Iterable[str]]]) -> list[str]:
    """Those sentences with a part that no other function's banner has told in this lesson."""
    name = function.__name__
    return [
        sentence
        for sentence, parts in told
        if name in [_tellers.setdefault((current(), f"{mode}: {part}"), name) for part in parts]
    ]


def _replay(function: Callable[[], object], reasons: list[str], how_to: str, wrong: Exception | None = None) -> object:
    path = recording_path(current(), function.__name__)
    if not path.exists():
        raise NotLive(f"{function.__name__} cannot run here, since {_and(reasons)}; and no recording of it is kept "
                      f"({path.name} in source/recordings/{current()}). {how_to}") from wrong  # fmt: skip
    kept = json.loads(path.read_text(encoding="utf-8"))
    stale = kept["source_sha256"] != source_hash(inspect.getsource(function))
    log_mode(function.__name__, "replayed")
    told = [(_on(kept["engines"]), kept["engines"].values()), *((each, [each]) for each in kept["stand_ins"])]
    told += [(f"Why: {_and(reasons)}.", reasons), (how_to, [how_to])]
    story = _untold(function, "replayed", told)
    story += ["What it runs on answered before, and stopped in the middle of the lesson."] * (wrong is not None)
    what = f"Not run here: this is what `{function.__name__}` returned on {kept['recorded']}."
    if how_to not in story:
        what = f"Replayed: `{function.__name__}`, recorded {kept['recorded']}."
    story += ["The function was changed since: what it returns now may differ."] * stale
    show.put(show.card("◷", show.ORANGE, what, *story, label="recording"))
    _replayed.append(kept["data"])
    return kept["data"]


def acted() -> bool:
    """Whether a live function was called for real in this lesson."""
    return current() in _acted


def replayed(data: object) -> bool:
    """Whether `data` is what a live function returned from a recording."""
    return data is not None and any(data is each for each in _replayed)


def _keep(function: Callable[[], object], engines: dict[str, str], stand_ins: list[str], data: object) -> None:
    path = recording_path(current(), function.__name__)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "lesson": current(),
        "name": function.__name__,
        "recorded": date.today().isoformat(),
        "engines": engines,
        "stand_ins": stand_ins,
        "source_sha256": source_hash(inspect.getsource(function)),
        "data": data,
    }
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def log_mode(name: str, mode: str) -> None:
    """Tells the test runner whether a lesson ran live: one JSON line in the file that COURSE_LIVE_LOG names."""
    if path := os.environ.get("COURSE_LIVE_LOG"):
        with open(path, "a", encoding="utf-8") as log:
            log.write(json.dumps({"lesson": current(), "name": name, "mode": mode}) + "\n")


def _on(engines: dict[str, str]) -> str:
    return "On " + _and(engines.values())


def _and(parts: Iterable[str]) -> str:
    return " and ".join(parts)
