"""Checks of lesson 16."""

import base64
import copy
import http.server
import io
import itertools
import json
import os
import random
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from dockerfile_parse import DockerfileParser

from course_lib.checks import Register
from course_lib.idioms.exercises import Property

EXERCISES = Register()


@EXERCISES.add("16.1", "The cheapest order")
def orders(answer: Callable) -> Iterator[Property]:
    """answer(steps) -> (names, bytes)."""

    def sent(order: list) -> float:
        return sum(changes * sum(size for _, size, _ in order[i:]) for i, (_, _, changes) in enumerate(order))

    def cost(steps: list) -> tuple[float, float]:
        """What the answer's order sends, and what the answer says that it sends; the order must name each step once."""
        names, told = answer(list(steps))
        by = {each[0]: each for each in steps}
        if sorted(names) != sorted(by):
            raise ValueError(f"expected each of {sorted(by)} once, got {list(names)}")
        return sent([by[name] for name in names]), told

    def same(a: float, b: float) -> bool:
        return abs(a - b) <= 1e-9 * max(1, abs(b))

    def cheapest(steps: list) -> bool:
        return same(cost(steps)[0], min(sent(list(order)) for order in itertools.permutations(steps)))

    def told(steps: list) -> bool:
        return same(*cost(steps))

    ordinary = [("code", 100, 20), ("packages", 5000, 1), ("model", 800, 2)]
    yield ("every step once, and the bytes of the order that is given", lambda: told(ordinary[:1]) and told(ordinary[:2]) and told(ordinary), [
        "A change to the first step sends all of them, a change to the last one itself.",
        "Changes of step i, times the sizes of i and of all after it.",
        "sum(changes[i] * sum(sizes[i:]) for i in …)",
    ])  # fmt: skip
    yield ("an ordinary image", lambda: cheapest(ordinary) and cheapest(ordinary[::-1]), [
        "Packages change once a week, code twenty times.",
        "Compute all six orders by hand, or in a loop.",
        "Packages, model, code.",
    ])  # fmt: skip
    yield ("a large step may come before one that changes less", lambda: cheapest([("large", 1000, 2), ("small", 10, 1)])
           and cheapest([("small", 10, 1), ("large", 1000, 2), ("middle", 100, 1)]), [
        "1000 bytes that change twice, 10 bytes that change once.",
        "Compute both orders: 2 · 1010 + 10, and 1010 + 2000.",
        "Compare changes for each byte.",
    ])  # fmt: skip
    yield ("a small step may come before one that is larger and changes more", lambda: cheapest([("large", 1000, 50), ("small", 100, 1)])
           and cheapest([("a", 300, 30), ("b", 200, 1), ("c", 100, 2)]), [
        "Size alone does not decide either.",
        "Two neighbours: c_a · s_b against c_b · s_a.",
        "sorted(steps, key=lambda each: each[2] / each[1])",
    ])  # fmt: skip
    yield ("steps of no bytes, and steps that never change", lambda: cheapest([("ENV", 0, 5), ("code", 10, 50), ("base", 900, 0)])
           and cheapest([("ENV", 0, 0), ("CMD", 0, 3), ("a", 10, 1)]) and told([("ENV", 0, 5), ("a", 10, 1)])
           and cheapest([("code", 10, 50), ("ENV", 0, 0), ("base", 900, 1)]), [
        "ENV and CMD add no bytes. Can you divide by them?",
        "A step of no bytes costs nothing where it stands last.",
        "math.inf for its changes for each byte.",
    ])  # fmt: skip
    yield ("no step at all", lambda: (lambda found: list(found[0]) == [] and found[1] == 0)(answer([])), [
        "Try an empty list.",
        "No names, 0 bytes.",
        "return [], 0",
    ])  # fmt: skip
    drawn = random.Random(16)

    def some(count: int) -> list:
        return [(f"step {i}", drawn.randrange(1, 500), drawn.randrange(0, 30)) for i in range(count)]

    yield ("any five steps", lambda: all(cheapest(steps) and told(steps) for steps in (some(5) for _ in range(40))), [
        "Forty images of five steps were tried.",
        "Which rule orders two neighbours, whatever else there is?",
        "a before b where c_a / s_a < c_b / s_b.",
    ])  # fmt: skip

    def many() -> bool:
        steps = some(300)
        best = sent(sorted(steps, key=lambda each: each[2] / each[1]))
        return same(cost(steps)[0], best)

    yield ("three hundred steps, in this life", many, [
        "How many orders do 300 steps have?",
        "Do not try orders: sort.",
        "One sorted(…) with a key.",
    ])  # fmt: skip

    def kept() -> bool:
        steps = [("b", 1, 9), ("a", 100, 1)]
        before = copy.deepcopy(steps)
        answer(steps)
        return steps == before

    yield ("the list that came in is as it was", kept, [
        "The caller's list was sorted.",
        "list.sort() changes it.",
        "sorted(steps, …) makes a new one.",
    ])  # fmt: skip


class Image:
    """A Dockerfile as an engine reads it: its stages, and what a container of the last one runs."""

    KNOWN = {"FROM", "ARG", "ENV", "COPY", "ADD", "RUN", "CMD", "ENTRYPOINT", "EXPOSE", "WORKDIR", "USER", "LABEL",
             "HEALTHCHECK", "STOPSIGNAL", "SHELL", "VOLUME", "ONBUILD", "MAINTAINER"}  # fmt: skip

    def __init__(self, text: str):
        if not isinstance(text, str):
            raise TypeError(f"expected the Dockerfile's text, got {type(text).__name__}")
        parsed = DockerfileParser(fileobj=io.BytesIO(text.encode())).structure
        self.text = text
        self.steps = [(e["instruction"].upper(), e["value"].strip()) for e in parsed if e["instruction"] != "COMMENT"]
        strange = [word for word, _ in self.steps if word not in self.KNOWN]
        if strange:
            raise ValueError(f"an engine does not know the instruction {strange[0]}")
        if not self.steps or self.steps[0][0] not in ("FROM", "ARG"):
            raise ValueError("the first instruction must be FROM")
        starts = [i for i, (word, _) in enumerate(self.steps) if word == "FROM"]
        if not starts:
            raise ValueError("there is no FROM")
        given = dict(v.split("=", 1) for word, v in self.steps[: starts[0]] if word == "ARG" and "=" in v)
        self.names, self.bases, self.chains = [], [], []  # of each stage: its name, its base, its steps with its base's
        for at, end in zip(starts, [*starts[1:], None]):
            words = [part for part in self.steps[at][1].split() if not part.startswith("--")]
            base = _filled(words[0], given)
            known = self.stage(base)
            if known is None:
                self.bases.append(base)
            self.chains.append(([] if known is None else self.chains[known]) + self.steps[at + 1 : end])
            self.names.append(words[2].lower() if len(words) == 3 and words[1].lower() == "as" else "")

    def stage(self, name: str) -> int | None:
        """The index of an earlier stage, by its name or number; None where it is no stage."""
        if name.isdigit() and int(name) < len(self.chains):
            return int(name)
        return self.names.index(name.lower()) if name and name.lower() in self.names else None

    @property
    def last(self) -> list[tuple[str, str]]:
        return self.chains[-1]

    def settings(self) -> dict[str, str]:
        """The variables of the last stage, ARG and ENV."""
        return _variables(self.last)

    def ending(self, word: str) -> str:
        """The last `word` of the last stage with its variables filled in, "" where there is none."""
        return _filled(([""] + [value for each, value in self.last if each == word])[-1], self.settings())

    def process(self) -> tuple[PurePosixPath, list[str]]:
        """The folder in which process 1 starts, and its words. Raises ValueError where a shell is process 1."""
        words, shell = [], False
        for word in ("ENTRYPOINT", "CMD"):
            value = ([""] + [value for each, value in self.last if each == word])[-1]
            if not value or shell:  # an ENTRYPOINT in shell form does not look at CMD
                continue
            try:
                words += json.loads(value)
            except ValueError:
                words += ["/bin/sh", "-c", value]
                shell = True
        folder = _folder(self.last)
        if words[:1] and PurePosixPath(words[0]).name in INITS and self.has(PurePosixPath(words[0]).name):
            words = words[words.index("--") + 1 :] if "--" in words else words[1:]
        if len(words) > 2 and PurePosixPath(words[0]).name in ("sh", "bash", "dash") and words[1] == "-c":
            text = _filled(words[2], self.settings())
            into = re.match(r"cd\s+([^\s;&|]+)\s*&&\s*", text)
            folder, text = (folder / into[1], text[into.end() :]) if into else (folder, text)
            if not text.startswith("exec ") or re.search(r"[;&|]", text):
                raise ValueError('a shell is process 1: write CMD in exec form, ["python", …], or begin with exec')
            words = shlex.split(text.removeprefix("exec "))
        return folder, words

    def after(self, option: str) -> str:
        """The command's value of an option, as `--port 8080` or `--port=8080`."""
        words = [p for word in self.process()[1] for p in (word.split("=", 1) if word.startswith("--") else [word])]
        return words[words.index(option) + 1] if option in words[:-1] else ""

    def has(self, program: str) -> bool:
        """Whether the last stage has a program: Python always, others where its base or a RUN brings them."""
        ran = " ".join(value for word, value in self.last if word == "RUN")
        small = re.search("slim|alpine", self.bases[-1])
        return (
            PYTHON.fullmatch(program) is not None
            or re.search(rf"\b(install|add)\b.*\b{program}\b", ran, re.S) is not None
            or (program in ("curl", "wget") and (not small or (program, small[0]) == ("wget", "alpine")))
        )

    def located(self, chain: list[tuple[str, str]], name: str) -> PurePosixPath | None:
        """Where a file or folder of the context lies at the end of a stage; None where it does not."""
        folder, there = PurePosixPath("/"), None
        for word, value in chain:
            if word == "WORKDIR":
                folder /= _filled(value, _variables(chain))
            elif word in ("COPY", "ADD"):
                there = self.copied(folder, _filled(value, _variables(chain)), name) or there
        return there

    def copied(self, folder: PurePosixPath, value: str, name: str) -> PurePosixPath | None:
        """Where one COPY puts `name`; None where it does not."""
        options, sources, to = _copy(value)
        target = folder / to
        if "from" not in options:
            names = [PurePosixPath(source.removeprefix("/")) for source in sources]
            if PurePosixPath(".") in names:
                return target / name
            if PurePosixPath(name) not in names:
                return None
            return target if "." not in name or PurePosixPath(to).suffix else target / name
        at = self.stage(options["from"])
        lies = None if at is None else self.located(self.chains[at], name)
        for source in map(PurePosixPath, sources) if lies else ():
            if PurePosixPath("/") / source == lies:
                return target if "." not in name or PurePosixPath(to).suffix else target / name
            if lies.is_relative_to(PurePosixPath("/") / source):
                return target / lies.relative_to(PurePosixPath("/") / source)
        return None

    def installs(self) -> list[tuple[int, int]]:
        """(stage, position in its chain) of each RUN that installs requirements.txt, or makes wheels of it."""
        asked = re.compile(r"\b(pip3?|uv)\b.*\b(install|wheel|sync)\b.*(-r|--requirements?)[= ]?\s*\S+", re.S)
        return [(stage, at) for stage, chain in enumerate(self.chains) for at, (word, value) in enumerate(chain)
                if word == "RUN" and asked.search(value)]  # fmt: skip

    def anew(self, stage: int, at: int) -> bool:
        """Whether a change of app.py or model makes the engine run that step again."""
        before = self.chains[stage][:at]
        if any(self.located(before, name) for name in ("app.py", "model")):
            return True
        return any(PurePosixPath(each.get("source", ".")) in (PurePosixPath("."), PurePosixPath("model"), PurePosixPath("app.py"))
                   for each in _mounts(self.chains[stage][at][1]) if each.get("type", "bind") == "bind" and "from" not in each)  # fmt: skip

    def finds_requirements(self, stage: int, at: int) -> bool:
        """Whether requirements.txt is there when the step runs: copied before, or mounted by the step."""
        mounted = any(
            PurePosixPath(each.get("source", ".")) in (PurePosixPath("."), PurePosixPath("requirements.txt"))
            for each in _mounts(self.chains[stage][at][1])
        )
        return mounted or self.located(self.chains[stage][:at], "requirements.txt") is not None

    def packages(self) -> bool:
        """Whether the packages are where the last stage's Python looks for them."""
        last = len(self.chains) - 1
        here = [
            (stage, at) for stage, at in self.installs() if stage == last and "wheel " not in self.chains[stage][at][1]
        ]
        wheels = any("wheel " in self.chains[stage][at][1] for stage, at in self.installs())
        if here or (
            wheels
            and any(word == "RUN" and re.search(r"\binstall\b.*(/\*|\.whl|wheel)", v, re.S) for word, v in self.last)
        ):
            return not here or all(self.used(_prefix(self.chains[s][:a], self.chains[s][a][1])) for s, a in here)
        for stage, at in self.installs():
            prefix = _prefix(self.chains[stage][:at], self.chains[stage][at][1])
            folder = PurePosixPath("/")
            for word, value in self.last:
                if word == "WORKDIR":
                    folder /= value
                if word != "COPY":
                    continue
                options, sources, to = _copy(value)
                if "from" not in options or self.stage(options["from"]) != stage:
                    continue
                for source in map(PurePosixPath, sources):
                    inside = prefix.is_relative_to(source) or (
                        source.is_relative_to(prefix) and "site-packages" in str(source)
                    )
                    place = folder / to / prefix.relative_to(source) if prefix.is_relative_to(source) else prefix
                    if inside and self.used(place):
                        return True
        return False

    def used(self, place: PurePosixPath) -> bool:
        """Whether Python looks for packages under `place`: its own folder, PATH's or the command's environment, PYTHONPATH."""
        settings, (_, words) = self.settings(), self.process()
        own = place == PurePosixPath("/usr/local") or place.name == ".local"
        named = words[:1] == [f"{place}/bin/python"] or words[:1] == [f"{place}/bin/python3"]
        return (
            own or named or f"{place}/bin" in settings.get("PATH", "") or str(place) in settings.get("PYTHONPATH", "")
        )


PYTHON = re.compile(r"(/\S*/)?python3?(\.13)?")
INITS = ("tini", "dumb-init", "catatonit")


def _filled(value: str, variables: dict[str, str]) -> str:
    """`value` with the variables that are known filled in."""
    return re.sub(r"\$\{?(\w+)(?::-[^}]*)?\}?", lambda found: variables.get(found[1], found[0]), value)


def _variables(chain: list[tuple[str, str]]) -> dict[str, str]:
    """A stage's ARG and ENV, each with those above it filled in."""
    found: dict[str, str] = {}
    for word, value in chain:
        if word in ("ARG", "ENV"):
            pairs = (
                [p.split("=", 1) for p in shlex.split(value) if "=" in p] if "=" in value else [value.split(None, 1)]
            )
            found |= {pair[0]: _filled(pair[1], found) for pair in pairs if len(pair) == 2}
    return found


def _folder(chain: list[tuple[str, str]]) -> PurePosixPath:
    folder = PurePosixPath("/")
    for word, value in chain:
        if word == "WORKDIR":
            folder /= _filled(value, _variables(chain))
    return folder


def _copy(value: str) -> tuple[dict[str, str], list[str], str]:
    """A COPY's options, sources and target."""
    words = value.split() if not value.startswith("[") else json.loads(value)
    if "[" in value and not value.startswith("["):
        words = [*value[: value.index("[")].split(), *json.loads(value[value.index("[") :])]
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
    words = [word for word in words if not word.startswith("--")]
    return options, words[:-1], words[-1]


def _mounts(run: str) -> list[dict[str, str]]:
    """BuildKit's mounts of a RUN: {"type": "cache", "target": …}."""
    named = {"src": "source", "dst": "target", "destination": "target"}
    found = [dict(p.split("=", 1) for p in each.split(",") if "=" in p) for each in re.findall(r"--mount=(\S+)", run)]
    return [{named.get(key, key): value for key, value in each.items()} for each in found]


def _prefix(before: list[tuple[str, str]], run: str) -> PurePosixPath:
    """Where a RUN's pip puts packages."""
    run = _filled(run, _variables(before))
    if found := re.search(r"(?:--target|--prefix|-t)[= ]\s*(\S+)", run):
        return PurePosixPath(found[1])
    if "--user" in run:
        return PurePosixPath("/root/.local")
    if found := re.search(r"(/\S+)/bin/(?:pip3?|python3?|activate)\b", run):
        return PurePosixPath(found[1])
    first = _variables(before).get("PATH", "").split(":")[0]
    return PurePosixPath(first).parent if first.endswith("/bin") else PurePosixPath("/usr/local")


def _asked(code: str, status: int | None) -> tuple[int, list[str]]:
    """The exit code of a health check in Python, and the paths for which it asked: of a server that answers so, or of none."""
    asked: list[str] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status or 0)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    port = server.server_port
    if status is None:
        server.server_close()
    else:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        direct = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
        command = [sys.executable, "-c", re.sub(r"\b8080\b", str(port), code)]
        return subprocess.run(command, env=direct, capture_output=True, timeout=15).returncode, asked
    except subprocess.TimeoutExpired:
        return 1, asked
    finally:
        if status is not None:
            server.shutdown()
            server.server_close()


def _checked(command: str) -> list[str]:
    """The words of a health check, without a shell around it. Raises ValueError where a shell hides its exit code."""
    if command.startswith("["):
        words = json.loads(command)
        if not (len(words) == 3 and PurePosixPath(words[0]).name in ("sh", "bash", "dash") and words[1] == "-c"):
            return words
        command = words[2]
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words = list(lexer)
    if words[-3:-1] == ["||", "exit"] and words[-1].isdigit() and int(words[-1]) % 256:
        words = words[:-3]
    words = [w for w in words if not re.fullmatch(r"\d?>+(/dev/null|&\d)", w)]
    while ">" in words:
        del words[words.index(">") : words.index(">") + 2]
    words = words[1:] if words[:1] == ["exec"] else words
    if any(set(word) <= set("|&;") for word in words if word):
        raise ValueError("after ||, ;, & or | the exit code is another program's: leave it out, or write || exit 1")
    return words


@EXERCISES.add("16.2", "Mend a Dockerfile", seconds=60)
def dockerfile(answer: Callable) -> Iterator[Property]:
    """answer() -> text."""

    def image() -> Image:
        return Image(answer())

    yield ("it is a Dockerfile, with one FROM or more", lambda: bool(image().steps), [
        "Return the text of a Dockerfile.",
        "Each line begins with an instruction, FROM first; `\\` at a line's end goes on.",
        'return """\\\nFROM …\n"""',
    ])  # fmt: skip
    own = r"(docker\.io/|(\S+/)?library/)?python:3\.13(\.\d+)?(-[\w.]+)*(@sha256:[0-9a-f]{64})?"
    yield ("the base is a Python 3.13, by a tag that says so", lambda: all(re.fullmatch(own, base) for base in image().bases), [
        "Which Python will `python:latest` be next year?",
        "The official image is `python`, with no maker's name before it. Its tag must have the version in it; slim is smaller.",
        "FROM python:3.13-slim-trixie",
    ])  # fmt: skip
    yield ("no token is in it", lambda: "gh-1f6a9c" not in image().text and not any("TOKEN" in value.upper() for _, value in image().steps), [
        "Who can read an ENV of an image?",
        "Nothing comes from the private index any more.",
        "Drop the ENV, and --extra-index-url with it.",
    ])  # fmt: skip

    def complete() -> bool:
        made = image()
        app, model = made.located(made.last, "app.py"), made.located(made.last, "model")
        there = app is not None and model is not None and model.name == "model" and model.parent == app.parent
        return there and bool(made.installs()) and all(made.finds_requirements(*each) for each in made.installs())

    yield ("everything that the application needs is there", complete, [
        "What does app.py need? Is all of it copied, and installed?",
        "requirements.txt, app.py and model come in by COPY, the last two beside each other in the last stage.",
        "COPY model model, since COPY model . would copy what is *in* it.",
    ])  # fmt: skip
    yield ("a change of code or model installs no package anew", lambda: not any(image().anew(*each) for each in image().installs()), [
        "From the first difference on, every step is made anew.",
        "requirements.txt alone, then pip install, then the rest.",
        "COPY requirements.txt ./ comes first, without the dot that copies all.",
    ])  # fmt: skip

    def not_root() -> bool:
        made = image()
        user = made.ending("USER").split(":")[0]
        if user.isdigit():
            return int(user) > 0
        ran = " ".join(value for word, value in made.last if word == "RUN")
        return user in ("nobody", "www-data") or bool(
            user and user != "root" and re.search(rf"\b(useradd|adduser)\b[^&;|]*\s{re.escape(user)}(?=\s|$)", ran)
        )

    yield ("it does not run as root, and the user exists", not_root, [
        "Who is process 1, if nothing is said?",
        "A number needs no entry in /etc/passwd. A name must be made first, by RUN useradd, and Kubernetes cannot tell whether it is root.",
        "USER 10001:10001",
    ])  # fmt: skip

    def installs_as_root() -> bool:
        user = "0"
        for word, value in image().last:
            user = value.split(":")[0] if word == "USER" else user
            own = re.search(r"--user\b|--target|/bin/pip", value)
            if word == "RUN" and re.search(r"\bpip3?\b.*\binstall\b", value) and user not in ("0", "root") and not own:
                return False
        return True

    yield ("the packages are installed before the user is no longer root", installs_as_root, [
        "Who may write to Python's packages?",
        "After USER, RUN has that user's rights.",
        "USER comes after the last RUN.",
    ])  # fmt: skip

    def starts() -> bool:
        made = image()
        folder, words = made.process()
        script = [word for word in words if PurePosixPath(word).name == "app.py"]
        if len(script) != 1 or not PYTHON.fullmatch(words[0]):
            return False
        told = PurePosixPath(script[0]).is_absolute() or folder != PurePosixPath("/")  # or else the base decides
        return told and folder / script[0] == made.located(made.last, "app.py")

    yield ("python runs app.py as process 1", starts, [
        "In shell form, who is process 1?",
        "Exec form is JSON: double quotes, one item a word. `cd` is then WORKDIR, and app.py must have been copied there.",
        'WORKDIR /app and CMD ["python", "app.py", …]',
    ])  # fmt: skip
    yield ("the packages are in the last stage, where its Python looks", lambda: image().packages(), [
        "What happens to the files of an earlier stage?",
        "COPY --from=… the folder into which pip installed, or install in the last stage.",
        "COPY --from=packages /opt/venv /opt/venv and ENV PATH=/opt/venv/bin:$PATH",
    ])  # fmt: skip
    yield ("it is reached from outside, on the port that EXPOSE names", lambda: image().after("--host") in ("0.0.0.0", "::")
           and image().after("--port") == "8080" and image().ending("EXPOSE") in ("8080", "8080/tcp"), [
        "127.0.0.1 in a container is the container's own.",
        "And EXPOSE must not tell readers another port.",
        '"--host", "0.0.0.0", "--port", "8080", and EXPOSE 8080',
    ])  # fmt: skip
    yield ("`docker stop` ends it cleanly", lambda: image().ending("STOPSIGNAL").upper().removeprefix("SIG") in ("INT", "2"), [
        "Process 1 does not die of a signal that it does not know.",
        "It knows SIGINT. Which instruction tells the engine?",
        "STOPSIGNAL SIGINT",
    ])  # fmt: skip

    def health() -> bool:
        made = image()
        check = re.fullmatch(r"(?P<options>(--\S+\s+)*)CMD\s+(?P<command>.+)", made.ending("HEALTHCHECK"), re.S)
        if not check:
            return False
        words = _checked(check["command"])
        if not words or not made.has(words[0]):
            return False
        if PYTHON.fullmatch(words[0]):
            if words[1:2] != ["-c"] or len(words) != 3:
                return False
            compile(words[2], "HEALTHCHECK", "exec")
            (well, asked), (ill, _), (gone, _) = (_asked(words[2], status) for status in (200, 500, None))
            return "8080" in words[2] and asked == ["/health"] and well == 0 and ill != 0 and gone != 0
        url = any(re.fullmatch(r"(http://)?(127\.0\.0\.1|localhost):8080/health", word) for word in words)
        fails = any(re.fullmatch(r"--fail(-with-body)?|-[a-zA-Z]*f[a-zA-Z]*", word) for word in words)
        return url and (words[0] == "wget" or (words[0] == "curl" and fails))

    yield ("a health check asks /health, with what is in the image, and fails where the answer is bad", health, [
        "HEALTHCHECK CMD … runs inside the container, and its exit code counts: of a server that answers 500, and of none.",
        "So it asks 127.0.0.1:8080 and lets errors through; a slim image has neither curl nor wget, and curl needs --fail.",
        "HEALTHCHECK --timeout=3s CMD [\"python\", \"-c\", \"import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)\"]",
    ])  # fmt: skip


@EXERCISES.add("16.3", "Who left the key in there?")
def secrets(answer: Callable) -> Iterator[Property]:
    """answer(image, secrets) -> [(name, place), …]."""
    key, value = "index", "tok-7f3a"

    def finds(
        wanted: list, env: tuple = (), history: tuple = (), layers: tuple = (), known: dict | None = None
    ) -> bool:
        image = {"env": list(env), "history": list(history), "layers": [dict(layer) for layer in layers]}
        found = answer(image, known or {key: value})
        return isinstance(found, list) and [tuple(each) for each in found] == wanted

    yield ("in the settings", lambda: finds([(key, "env")], env=["PATH=/bin", f"TOKEN={value}"])
           and finds([], env=["PATH=/bin"]) and finds([], env=[f"A={value[:4]}", value[4:]])
           and finds([], env=[f"A={value.upper()}"]) and finds([(key, "env")], env=["A=a\\b'c"], known={key: "a\\b'c"}), [
        "Look at each line of image[\"env\"].",
        "The value stands somewhere in it, letter by letter: str(…) of the whole list would write a backslash twice.",
        "if value in line: found.append((name, \"env\"))",
    ])  # fmt: skip
    yield ("in the history", lambda: finds([(key, "history")], history=["CMD [\"python\"]", f"|1 TOKEN={value} /bin/sh -c pip install"]), [
        "A build argument stands before the command.",
        "The same search, over image[\"history\"].",
        "The place is \"history\".",
    ])  # fmt: skip
    yield ("in a file of a layer, with the layer's index", lambda: finds([(key, "layer 1: root/.pip")], layers=[{"bin/sh": b"x"}, {"root/.pip": f"a {value} b".encode()}]), [
        "Layers are dicts from path to bytes.",
        "enumerate(image[\"layers\"]) counts from 0.",
        'f"layer {index}: {path}"',
    ])  # fmt: skip
    yield ("below what was deleted", lambda: finds([(key, "layer 0: tmp/token")], layers=[{"tmp/token": value.encode()}, {"tmp/token": None, "app.py": b""}])
           and finds([(key, "layer 0: a"), (key, "layer 2: a")], layers=[{"a": value.encode()}, {"a": None}, {"a": value.encode()}]), [
        "None is a mark, not a content.",
        "Do not add the layers up: search each by itself.",
        "content or b\"\"",
    ])  # fmt: skip
    yield ("in files that are no text", lambda: finds([(key, "layer 0: cache.bin")], layers=[{"cache.bin": b"\xff\xfe\x00" + value.encode() + b"\x80", "other": b"\xff"}]), [
        "b\"\\xff\".decode() raises.",
        "Compare bytes with bytes.",
        "value.encode() in content",
    ])  # fmt: skip
    coded = base64.b64encode(value.encode())
    yield ("in base64 too, everywhere", lambda: finds([(key, "env"), (key, "history"), (key, "layer 0: .docker/config.json")],
           env=[f"AUTH={coded.decode()}"], history=[f"echo {coded.decode()}"], layers=[{".docker/config.json": b'{"auth": "' + coded + b'"}'}])
           and finds([(key, "env")], env=["AUTH=dG9rPj4+Nz8="], known={key: "tok>>>7?"})
           and finds([(key, "env")], env=["KEY=" + base64.b64encode(b"long " * 20).decode()], known={key: "long " * 20}), [
        "Docker keeps passwords in base64, and so does Kubernetes.",
        "Search for two forms of each value. `base64.encodebytes` breaks long lines, `b64encode` does not.",
        "base64.b64encode(value.encode())",
    ])  # fmt: skip
    two = {"b": "second", "a": "first", "c": "never"}
    yield ("several secrets, sorted, each place once", lambda: finds([("a", "env"), ("a", "layer 0: x"), ("b", "env")],
           env=["X=second", "Y=first", "Z=first", "W=first second"], layers=[{"x": b"first " + base64.b64encode(b"first")}], known=two), [
        "The same secret in two lines of env is one finding.",
        "A set, then sorted.",
        "return sorted(set(found))",
    ])  # fmt: skip
    yield ("an empty value is no secret", lambda: finds([], env=["A=b"], history=["x"], layers=[{"f": b"text"}], known={"unset": ""})
           and finds([(key, "env")], env=[f"A={value}"], known={"unset": "", key: value}), [
        "'' in 'anything' is true.",
        "Leave out what is empty.",
        "if value:",
    ])  # fmt: skip
    umlaut = "schlüssel-ß"
    yield ("a secret beyond ASCII, and an image of nothing", lambda: finds([("k", "env"), ("k", "layer 0: f")], env=[f"A={umlaut}"], layers=[{"f": umlaut.encode()}], known={"k": umlaut})
           and finds([]) and finds([], layers=[{}]), [
        "Try a value with an umlaut.",
        "Encode in UTF-8, not in ASCII or Latin-1.",
        "value.encode()",
    ])  # fmt: skip
