"""What must not depend on who builds an image, or on where it runs: rights of files, proxies, the bytes of packages."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.deploy.tree import Tree, pods

DIRECT = {
    r"\burllib\b|urlopen": "ProxyHandler({})",
    r"\brequests\.": "trust_env = False",
    r"\bhttpx\.": "trust_env=False",
    r"\bcurl\b": "--noproxy",
    r"\bwget\b": "-Y off",
}
"""By what a check asks with: what makes it leave proxies alone, which HTTP_PROXY in a container's environment names."""


def check_words(healthcheck: str) -> str:
    """The command of a Dockerfile's HEALTHCHECK, its words joined by blanks; "" for none."""
    command = healthcheck.partition("CMD")[2].strip()
    return " ".join(json.loads(command)) if command.startswith("[") else command


def asked(tree: Tree) -> Iterator[tuple[str, str]]:
    """(where, command) of each program that is started in a container to ask it how it is."""
    for name, steps in tree.dockerfiles.items():
        yield from ((f"{name}.Dockerfile", check_words(rest)) for word, rest in steps if word == "HEALTHCHECK")
    for name, service in tree.compose.get("services", {}).items():
        test = service.get("healthcheck", {}).get("test", [])
        yield f"compose: {name}", test if isinstance(test, str) else " ".join(test[1:])
    for overlay, documents in tree.overlays.items():
        for pod in pods(documents):
            for container in pod.spec["containers"]:
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    if words := container.get(probe, {}).get("exec", {}).get("command"):
                        yield f"{overlay}: {pod}: {probe}", " ".join(words)


def proxies(tree: Tree) -> Iterator[str]:
    """What asks its own container asks it directly."""
    for where, command in asked(tree):
        for client, direct in DIRECT.items():
            if re.search(client, command) and direct not in command:
                yield f"{where}: the health check goes through a proxy where HTTP_PROXY is set: no {direct}"


def stages(steps: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Each stage's instructions, by its name; "" is the last one."""
    starts = [index for index, (word, _) in enumerate(steps) if word == "FROM"]
    found = {}
    for start, end in zip(starts, [*starts[1:], len(steps)]):
        named = re.search(r"\bAS (\S+)$", steps[start][1], re.IGNORECASE)
        found[named[1] if named and end < len(steps) else ""] = steps[start:end]
    return found


def rights(tree: Tree) -> Iterator[str]:
    """The image's user can read what was copied out of a checkout that only its owner can read."""
    for name, steps in tree.dockerfiles.items():
        every = stages(steps)
        user = next((rest for word, rest in reversed(every[""]) if word == "USER"), "0:0")
        for word, rest in every[""]:
            if word not in ("COPY", "ADD"):
                continue
            options = dict(re.findall(r"--(\w+)=(\S+)", rest))
            if "from" not in options:
                if options.get("chown") != user and "chmod" not in options:
                    yield f"{name}.Dockerfile: {word} {rest}: the image's user may not read it after a umask of 077"
            elif options["from"] in every and "chmod" not in options:
                source = [each for each in rest.split() if not each.startswith("--")][0]
                if open_to_none(every[options["from"]], source):
                    yield f"{name}.Dockerfile: {word} {rest}: no chmod -R in that stage, after a umask of 077 it is unread"


def open_to_none(stage: list[tuple[str, str]], path: str) -> bool:
    """Whether a path of a stage has come from the checkout, and no `chmod -R` has gone over it since."""
    closed = False
    for word, rest in stage:
        if word in ("COPY", "ADD") and "--from=" not in rest and "--chmod=" not in rest:
            closed |= within(rest.split()[-1], path) or within(path, rest.split()[-1])
        elif word == "RUN":
            changed = re.findall(r"chmod -R \S+ (\S+)", rest)
            closed &= not any(within(path, each) for each in changed)
    return closed


def within(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def hashes(tree: Tree) -> Iterator[str]:
    """pip installs, of what a requirements file lists, only files whose hashes it lists."""
    for name, text in tree.requirements.items():
        runs = [rest for word, rest in tree.dockerfiles.get(name, []) if word == "RUN" and "pip install" in rest]
        if not runs or not all("--require-hashes" in rest and "--no-deps" in rest for rest in runs):
            yield f"{name}.Dockerfile: pip takes whatever bytes it is served: no --require-hashes"
        for line in text.replace("\\\n", " ").splitlines():
            if line and not line.startswith("#"):
                if not re.fullmatch(r"[\w.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+ *", line):
                    yield f"{name}-requirements.txt: {line.split()[0]} has no version and hash"


RULES = [proxies, rights, hashes]
