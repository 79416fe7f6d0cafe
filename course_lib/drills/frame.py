"""The frame of every drill: it starts what runs, breaks it by the seed, and examines diagnosis and repair.

A drill is a subclass of `Drill` in `drill_N.py`, named `TheDrill`. CONTRIBUTING.md says how one is written.
"""

import atexit
import importlib
import inspect
import json
import random
import subprocess
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from course_lib import show
from course_lib.drills import records
from course_lib.drills.evidence import NotShown, Unwell, as_json
from course_lib.drills.wording import words_of
from course_lib.idioms import lesson
from course_lib.ops import leash
from course_lib.ops.service import Service, start_module

STOP_SECONDS = 3
"""How long a service may take to stop: less than one gives the requests under way, of which a drill may have hundreds."""

_running: dict[int, "Drill"] = {}


def begin_drill(number: int, seed: int | None = None) -> "Drill":
    """Starts drill `number`, broken by a fault that the seed draws. Ends the one that this kernel ran before.

    seed: the same one draws the same fault. None: the run that is not solved yet goes on, with its time and hints; after
    it a new seed, with a fault that you have not had as long as there is one.
    """
    module = importlib.import_module(f"course_lib.drills.drill_{number}")
    for each in list(_running.values()):
        each.end(anyway=True)
    kept = records.open_run(number) or {}
    if seed is None:
        seed = kept.get("seed", draw(module.TheDrill))
    drill = module.TheDrill(seed, **({k: kept[k] for k in ("seconds", "hints")} if kept.get("seed") == seed else {}))
    _running[number] = drill
    try:
        drill.begin()
    except BaseException:  # the cell was interrupted: nobody would know the processes
        drill.end(anyway=True)
        raise
    return drill


def draw(kind: type["Drill"]) -> int:
    """A new seed, whose fault this learner has met least often."""
    met = [run["fault"] for run in records.solved_runs(kind.number)]
    fewest = min(map(met.count, kind.faults))
    return next(s for s in iter(lambda: random.randrange(10_000), -1) if met.count(kind.drawn(s)) == fewest)


class Drill:
    """What runs, and what the learner does with it.

    A subclass sets `number`, `title` and `faults`, and writes `build(fault)`, which makes the files and starts the
    services; `alert()`, the page that woke the learner; for each fault a method of its name with `proves_` before it,
    which takes the evidence by name and raises NotShown; and `examine()`, which raises Unwell.
    """

    number: ClassVar[int]
    title: ClassVar[str]
    faults: ClassVar[Sequence[str]]

    def __init__(self, seed: int, seconds: float = 0.0, hints: int = 0) -> None:
        self.seed, self.hints = seed, hints
        self.random, self._fault = random.Random(seed), self.drawn(seed)
        self.diagnosed = self.solved = False
        self.words, self.said = words_of(self.number), ""
        self.services: dict[str, Service] = {}
        self.unseen: list[subprocess.Popen] = []  # those whom the learner cannot stop: strangers
        self.logs: dict[str, list[Path]] = {}
        self._before, self._since = seconds, time.monotonic()

    @classmethod
    def drawn(cls, seed: int) -> str:
        """The name of the fault that a seed draws."""
        return random.Random(f"drill {cls.number}, seed {seed}").choice(cls.faults)

    # What the learner calls

    def causes(self) -> show.Block:
        """The causes that `diagnose` knows, and the evidence that each one wants."""
        rows = []
        for name in self.faults:
            wanted = [f"`{each}`: {words}" for each, words in self._wanted(name).items()]
            rows.append([f'`"{name}"`', self.words[name].says, "; ".join(wanted)])
        return show.table(["cause", "what it says", "evidence"], rows, "One of these has happened.")

    def log(self, name: str, containing: str = "") -> list[dict]:
        """The lines of a service's log that contain a text, the oldest first, as dictionaries."""
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in self.logs[name]]
        lines = [
            line for text in texts for line in text.rpartition("\n")[0].splitlines()
        ]  # the last may be half written
        return [as_json(line) for line in lines if containing in line]

    def restart(self, name: str) -> None:
        """Stops a service and starts it again at the same address, with what `services.toml`, or NAME.json, says now."""
        port = int(self.services[name].url.rpartition(":")[2])
        leash.end([self.services[name].process], STOP_SECONDS)
        try:
            self._send(name) if (self.folder / f"{name}.json").exists() else self._start(name, port)
        except (RuntimeError, ValueError, KeyError, TypeError) as wrong:
            self._say("✗", show.ORANGE, f"{name} does not run", str(wrong)[-700:])
            return
        sends = (self.folder / f"{name}.json").exists()
        self._say("↻", show.BLUE, f"{name} runs again{', and sends to' if sends else ' at'} {self.services[name].url}")

    def run(self, program: str, *arguments: object) -> None:
        """Runs a program of the folder, as `python PROGRAM ARGUMENTS` does in a terminal, and shows what it prints."""
        command = ["-m", "course_lib.drills.programs.program", str(self.folder / program), *map(str, arguments)]
        process = leash.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _ = (
                process.stdout.read().strip(),
                process.wait(),
            )  # its standard input stays open, or it would be ended
        finally:
            leash.end([process])
            process.stdout.close()
        self._say("✗" if process.returncode else "✓", show.BLUE, f"{program} ended with {process.returncode}", said)

    def hint(self) -> None:
        """One hint more. It is counted."""
        hints = self.words[self._fault].hints
        self.hints = min(self.hints + 1, len(hints))
        self._keep()
        self._say("?", show.BLUE, f"hint {self.hints} of {len(hints)}", hints[self.hints - 1])

    def diagnose(self, cause: str | None = None, evidence: dict | None = None) -> None:
        """Examines a cause and the readings that prove it. The evidence is compared with the system as it runs now.

        cause: a name from `causes()`. evidence: its readings by name.
        """
        self._keep()
        if cause is None and not evidence:
            self._say("○", show.GREY, "not yet diagnosed", "`drill.causes()` lists the causes, and their evidence")
            return
        wanted = self._wanted(cause) if cause in self.faults else None
        if wanted is None:
            self._say("✗", show.ORANGE, f"{cause!r} is not on the list", f"expected one of {', '.join(self.faults)}")
        elif not isinstance(evidence, dict) or set(evidence) != set(wanted):
            told = "; ".join(f"{name}: {words}" for name, words in wanted.items())
            self._say("✗", show.ORANGE, "the evidence is not complete", f"expected a dictionary with {told}")
        elif (why := self._tried(lambda: getattr(self, f"proves_{cause}")(**evidence))) or cause != self._fault:
            why = why or "The reading is right, and yet it is a consequence of something else."
            self._say("✗", show.ORANGE, f"“{cause}” is not shown", why)
        else:
            self.diagnosed = True
            self._say("✓", show.GREEN, f"“{cause}” is the cause, and this proves it", "Now repair it.")

    def repaired(self) -> None:
        """Asks the system itself whether it is well again."""
        self._keep()
        if why := self._tried(self.examine):
            self._say("✗", show.ORANGE, "not repaired", why)
        elif self.solved:
            self._say("✓", show.GREEN, "the system is well")
        elif not self.diagnosed:
            self._say("!", show.ORANGE, "the system is well again", "What was it? The post-mortem needs cause and "
                      "evidence. If they are gone, put your change back, and diagnose first.")  # fmt: skip
        else:
            self.solved = True
            records.keep_solved(self.number, self.seed, self._fault, self.seconds, self.hints)
            minutes = max(1, round(self.seconds / 60))
            told = f"solved in {_counted(minutes, 'minute')} with {_counted(self.hints, 'hint')}"
            self._say("✓", show.GREEN, told, "Write your post-mortem; `drill.postmortem()` shows ours. `drill.end()` "
                      "stops everything.")  # fmt: skip

    def postmortem(self) -> object:
        """Our post-mortem, once the drill is solved, to compare with yours."""
        if not self.solved:
            return show.card("○", show.GREY, "ours is shown once the drill is solved", label="drill")
        from IPython.display import Markdown

        return Markdown(f"### Ours\n\n{self.words[self._fault].story}")

    def end(self, anyway: bool = False) -> None:
        """Stops everything once the drill is solved. anyway: also if it is not; its time and hints are kept."""
        if not (self.solved or anyway):
            self._say("○", show.GREY, "not solved yet: everything goes on until this kernel ends",
                      "`drill.end(anyway=True)` stops it now")  # fmt: skip
            return
        if not self.solved and self.services:
            self._keep()
        leash.end([*(each.process for each in self.services.values()), *self.unseen], STOP_SECONDS)
        self.services.clear()
        self.unseen.clear()
        _running.pop(self.number, None)
        atexit.unregister(self._at_exit)
        if not anyway:
            self._say("■", show.GREY, "everything is stopped", "`begin_drill` draws another fault")

    # What a subclass calls and writes

    def build(self, fault: str) -> None:
        """Makes the files in `self.folder`, broken as `fault` says, and starts the services."""
        raise NotImplementedError

    def alert(self) -> str:
        """The page that woke the learner, with what was measured."""
        raise NotImplementedError

    def examine(self) -> None:
        """Raises Unwell while the system is not well, or only seems to be."""
        raise NotImplementedError

    def service(self, name: str, module: str, *options: object) -> Service:
        """Writes a service into `services.toml` and starts it. One that ends in .py is a program in the folder."""
        if module.endswith(".py"):
            module, options = "course_lib.drills.programs.program", (self.folder / module, *options)
        words = [each.as_posix() if isinstance(each, Path) else str(each) for each in options]
        with (self.folder / "services.toml").open("a", encoding="utf-8") as file:
            listed = "".join(f"    {json.dumps(word, ensure_ascii=False)},\n" for word in words)
            file.write(f"[{name}]\nmodule = {json.dumps(module)}\noptions = [\n{listed}]\n\n")
        return self._start(name, None)

    def users(self, plan: dict, name: str = "users") -> None:
        """Writes a plan of `traffic.py` into NAME.json and starts it; its log has that name too."""
        (self.folder / f"{name}.json").write_text(json.dumps(plan), encoding="utf-8")
        self._send(name)

    def _send(self, name: str) -> None:
        file = self.folder / f"{name}.json"
        url = json.loads(file.read_text(encoding="utf-8"))["url"]
        with self._log(name).open("wb") as kept:
            process = leash.start(["-m", "course_lib.drills.programs.traffic", str(file)], stdout=kept, stderr=kept)
        self.services[name] = Service(url, process)

    def wait_for_users(self, count: int, seconds: float = 60) -> list[dict]:
        """Waits until so many requests more have been answered, and returns them. Raises Unwell where they do not come."""
        before, until = len(self.log("users")), time.monotonic() + seconds
        while len(lines := self.log("users")) < before + count:
            if time.monotonic() > until or self.services["users"].process.poll() is not None:
                raise Unwell("The users get no answers at all.")
            time.sleep(0.05)
        return lines[before:]

    # The rest

    def begin(self) -> None:
        """Starts everything and shows the alert."""
        self.folder = lesson.begin_as(f"drill-{self.number}")
        atexit.register(self._at_exit)
        self.build(self._fault)
        self._keep()
        clients = {path.stem for path in self.folder.glob("*.json")}  # they send, and have no address of their own
        lines = [f"{name}: `{each.url}`" for name, each in self.services.items() if name not in clients]
        listed = ", and services.toml" * (self.folder / "services.toml").exists()
        lines.append(f"files{listed}: `{self.folder}`")
        show.put(show.card("▲", show.ORANGE, f"{time.strftime('%H:%M')}  {self.alert()}", label="page"))
        show.put(show.card("◆", show.BLUE, f"drill {self.number}, seed {self.seed}", *lines, label="what runs"))
        self._since = time.monotonic()

    def _start(self, name: str, port: int | None) -> Service:
        table = tomllib.loads((self.folder / "services.toml").read_text(encoding="utf-8"))
        if name not in table:
            raise ValueError(f"services.toml has no [{name}]; it has {', '.join(table)}")
        log = self._log(name)
        self.services[name] = start_module(table[name]["module"], table[name]["options"], log, 30, port)
        return self.services[name]

    def _log(self, name: str) -> Path:
        """A new file for a service's log. A service that is started again gets another one."""
        own = self.logs.setdefault(name, [])
        own.append(self.folder / f"{name}-{len(own) + 1}.log")
        own[-1].touch()
        return own[-1]

    def _wanted(self, cause: str) -> dict[str, str]:
        """The evidence of a cause, from its method: the parameters, and the lines `name: words` of its docstring."""
        method = getattr(self, f"proves_{cause}")
        words = dict(line.strip().split(": ", 1) for line in method.__doc__.splitlines()[1:] if ": " in line)
        return {name: words[name] for name in inspect.signature(method).parameters}

    def _tried(self, examine: Callable[[], object]) -> str:
        """Why an examination failed, "" where it did not. Whatever a learner's evidence or edit makes it raise, is told."""
        try:
            examine()
            return ""
        except (NotShown, Unwell) as said:
            return str(said)
        except Exception as wrong:
            return f"This could not be examined ({type(wrong).__name__}: {wrong})."

    @property
    def seconds(self) -> float:
        """How long this run has taken so far, earlier kernels included."""
        return self._before + time.monotonic() - self._since

    def _keep(self) -> None:
        if not self.solved:
            records.keep_open(self.number, self.seed, self.seconds, self.hints)

    def _at_exit(self) -> None:
        self.end(anyway=True)

    def _say(self, mark: str, colour: str, headline: str, *details: str) -> None:
        block = show.card(mark, colour, headline, *details, label="drill")
        self.said = block.text
        show.put(block)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
