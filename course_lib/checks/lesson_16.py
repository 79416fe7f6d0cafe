"""Checks of lesson 16."""

import base64
import copy
import io
import itertools
import json
import random
import re
import shlex
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
    """A Dockerfile as an engine reads it: its steps, and what its last stage ends with."""

    def __init__(self, text: str):
        if not isinstance(text, str):
            raise TypeError(f"expected the Dockerfile's text, got {type(text).__name__}")
        parser = DockerfileParser(fileobj=io.BytesIO(text.encode()))
        parsed = [(each["instruction"].upper(), each["value"].strip()) for each in parser.structure]
        known = {"FROM", "ARG", "ENV", "COPY", "ADD", "RUN", "CMD", "ENTRYPOINT", "EXPOSE", "WORKDIR", "USER", "LABEL"}
        known |= {"HEALTHCHECK", "STOPSIGNAL", "SHELL", "VOLUME", "ONBUILD", "MAINTAINER"}
        self.text, self.steps = text, [each for each in parsed if each[0] != "COMMENT"]
        strange = [word for word, _ in self.steps if word not in known]
        if strange or not self.steps or self.steps[0][0] not in ("FROM", "ARG"):
            raise ValueError(
                f"an engine does not know the instruction {strange[0]}"
                if strange
                else "the first instruction must be FROM"
            )
        starts = [i for i, (word, _) in enumerate(self.steps) if word == "FROM"]
        if not starts:
            raise ValueError("there is no FROM")
        self.last = self.steps[starts[-1] :]
        self.globals = dict(
            value.split("=", 1) for word, value in self.steps[: starts[0]] if word == "ARG" and "=" in value
        )
        self.bases = [
            self.filled(next(part for part in value.split() if not part.startswith("--")))
            for word, value in self.steps
            if word == "FROM"
        ]
        self.stages = {
            value.split()[-1] for word, value in self.steps if word == "FROM" and re.search(r" as \S+$", value, re.I)
        }

    def filled(self, value: str) -> str:
        """`value` with the ARGs before the first FROM filled in."""
        return re.sub(r"\$\{?(\w+)\}?", lambda found: self.globals.get(found[1], found[0]), value)

    def ending(self, word: str) -> str:
        """The last `word` of the last stage, "" where there is none."""
        return ([""] + [value for each, value in self.last if each == word])[-1]

    def command(self) -> list[str]:
        """What a container runs, ENTRYPOINT and CMD together. Raises ValueError where one is in shell form."""
        words = []
        for word in ("ENTRYPOINT", "CMD"):
            if value := self.ending(word):
                try:
                    words += json.loads(value)
                except ValueError:
                    raise ValueError(f'{word} is not in exec form, ["python", …]') from None
        return words

    def after(self, option: str) -> str:
        """The command's value of an option, as `--port 8080` or `--port=8080`."""
        words = [part for word in self.command() for part in (word.split("=", 1) if word.startswith("--") else [word])]
        return words[words.index(option) + 1] if option in words[:-1] else ""


def _sources(value: str) -> list[str]:
    """What a COPY takes from the context; nothing where it takes from another stage."""
    if value.startswith("["):
        return json.loads(value)[:-1]
    words = value.split()
    if any(word.startswith("--from") for word in words):
        return []
    return [word.removeprefix("./").rstrip("/") or "." for word in words if not word.startswith("--")][:-1]


PYTHON = re.compile(r"(/\S*/)?python3?(\.13)?")


def _folder_and_script(steps: list[tuple[str, str]]) -> tuple[PurePosixPath, PurePosixPath | None]:
    """The working directory that a stage ends with, and where its app.py came to; None where no COPY names it."""
    folder, there = PurePosixPath("/"), None
    for word, value in steps:
        if word == "WORKDIR":
            folder /= value
        elif word in ("COPY", "ADD") and {"app.py", "."} & set(_sources(value)):
            to = json.loads(value)[-1] if value.startswith("[") else value.split()[-1]
            there = folder / to if to.endswith(".py") else folder / to / "app.py"
    return folder, there


@EXERCISES.add("16.2", "Mend a Dockerfile")
def dockerfile(answer: Callable) -> Iterator[Property]:
    """answer() -> text."""

    def image() -> Image:
        return Image(answer())

    yield ("it is a Dockerfile, with one FROM or more", lambda: bool(image().steps), [
        "Return the text of a Dockerfile.",
        "Each line begins with an instruction, FROM first; `\\` at a line's end goes on.",
        'return """\\\nFROM …\n"""',
    ])  # fmt: skip
    own = r"(\S+/)?python:3\.13(\.\d+)?(-[\w.]+)*(@sha256:[0-9a-f]{64})?"
    yield ("the base is a Python 3.13, by a tag that says so", lambda: all(re.fullmatch(own, base) for base in image().bases if base not in image().stages), [
        "Which Python will `python:latest` be next year?",
        "A tag with the version in it; slim is smaller.",
        "FROM python:3.13-slim-trixie",
    ])  # fmt: skip
    yield ("no token is in it", lambda: "gh-1f6a9c" not in image().text and not any("TOKEN" in value.upper() for _, value in image().steps), [
        "Who can read an ENV of an image?",
        "Nothing comes from the private index any more.",
        "Drop the ENV, and --extra-index-url with it.",
    ])  # fmt: skip

    def copied(name: str) -> int:
        """Where `name` comes in; -1 where it never does. A folder's content alone is not the folder."""
        takes = [
            i
            for i, (word, value) in enumerate(image().steps)
            if word in ("COPY", "ADD")
            and {name, "."} & set(_sources(value))
            and ("." in name or "." in _sources(value) or re.search(r"\bmodel/?\"?\]?$", value))
        ]
        return min(takes, default=-1)

    def installs() -> int:
        return max(
            (
                i
                for i, (word, value) in enumerate(image().steps)
                if word == "RUN" and "pip" in value and "requirements.txt" in value
            ),
            default=-1,
        )

    yield ("everything that the application needs is there", lambda: min(copied("requirements.txt"), copied("app.py"), copied("model"), installs()) >= 0, [
        "What does app.py need? Is all of it copied, and installed?",
        "requirements.txt, app.py and model come in by COPY.",
        "COPY model model, since COPY model . would copy what is *in* it.",
    ])  # fmt: skip
    yield ("a change of code or model installs no package anew", lambda: copied("requirements.txt") < installs() < min(copied("app.py"), copied("model")), [
        "From the first difference on, every step is made anew.",
        "requirements.txt alone, then pip install, then the rest.",
        "COPY requirements.txt ./ comes first, without the dot that copies all.",
    ])  # fmt: skip
    yield ("it does not run as root, and the user is a number", lambda: re.fullmatch(r"[1-9]\d*(:\d+)?", image().ending("USER")) is not None, [
        "Who is process 1, if nothing is said?",
        "Kubernetes cannot tell whether a name is root.",
        "USER 10001:10001",
    ])  # fmt: skip

    def installs_as_root() -> bool:
        user = "0"
        for word, value in image().last:
            user = value.split(":")[0] if word == "USER" else user
            if word == "RUN" and "pip" in value and user not in ("0", "root"):
                return False
        return True

    yield ("the packages are installed before the user is no longer root", installs_as_root, [
        "Who may write to Python's packages?",
        "After USER, RUN has that user's rights.",
        "USER comes after the last RUN.",
    ])  # fmt: skip

    def starts() -> bool:
        words = image().command()
        script = [word for word in words if PurePosixPath(word).name == "app.py"]
        if len(script) != 1 or not PYTHON.fullmatch(words[0]):
            return False
        folder, there = _folder_and_script(image().last)
        told = PurePosixPath(script[0]).is_absolute() or folder != PurePosixPath("/")  # or else the base decides
        return told and (there is None or folder / script[0] == there)

    yield ("python runs app.py as process 1", starts, [
        "In shell form, who is process 1?",
        "Exec form is JSON: double quotes, one item a word. `cd` is then WORKDIR, and app.py must have been copied there.",
        'WORKDIR /app and CMD ["python", "app.py", …]',
    ])  # fmt: skip
    yield ("it is reached from outside, on the port that EXPOSE names", lambda: image().after("--host") == "0.0.0.0"
           and image().after("--port") == "8080" and image().ending("EXPOSE") in ("8080", "8080/tcp"), [
        "127.0.0.1 in a container is the container's own.",
        "And EXPOSE must not tell readers another port.",
        '"--host", "0.0.0.0", "--port", "8080", and EXPOSE 8080',
    ])  # fmt: skip
    yield ("`docker stop` ends it in order", lambda: image().ending("STOPSIGNAL").upper().removeprefix("SIG") in ("INT", "2"), [
        "Process 1 does not die of a signal that it does not know.",
        "It knows SIGINT. Which instruction tells the engine?",
        "STOPSIGNAL SIGINT",
    ])  # fmt: skip

    def health() -> bool:
        check = re.fullmatch(r"(?P<options>(--\S+\s+)*)CMD\s+(?P<command>.+)", image().ending("HEALTHCHECK"), re.S)
        if not check:
            return False
        command = check["command"]
        words = json.loads(command) if command.startswith("[") else shlex.split(command)
        asks = re.search(r"(127\.0\.0\.1|localhost|\[::1\]):8080/health\b", " ".join(words)) is not None
        if "-c" in words and PYTHON.fullmatch(words[0]):
            compile(words[words.index("-c") + 1], "HEALTHCHECK", "exec")
        return asks and has(words[0])

    def has(program: str) -> bool:
        """Whether the image has what a health check calls: Python always, curl or wget where its base or a RUN brings it."""
        ran = " ".join(value for word, value in image().last if word == "RUN")
        small = re.search("slim|alpine", image().bases[-1])
        return PYTHON.fullmatch(program) is not None or (
            program in ("curl", "wget") and (not small or program in ran or (program, small[0]) == ("wget", "alpine"))
        )

    yield ("a health check asks /health, with what is in the image", health, [
        "HEALTHCHECK CMD … runs inside the container.",
        "So it asks 127.0.0.1:8080; and a slim image has neither curl nor wget.",
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
           and finds([], env=["PATH=/bin"]) and finds([], env=[f"A={value[:4]}", value[4:]]), [
        "Look at each line of image[\"env\"].",
        "The value stands somewhere in it.",
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
           and finds([(key, "env")], env=["AUTH=dG9rPj4+Nz8="], known={key: "tok>>>7?"}), [
        "Docker keeps passwords in base64, and so does Kubernetes.",
        "Search for two forms of each value.",
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
