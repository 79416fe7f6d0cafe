"""Criteria on the project's image, where a Docker engine answers. The container has no network, and little else."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib.capstone.examine import Criterion, Line
from course_lib.capstone.running import Failed, copied
from course_lib.ops import docker, names
from course_lib.ops.reach import BASE_IMAGE, probe

MOST_OVER_BASE = 200_000_000
START_SECONDS, BUILD_SECONDS = 15, 240
BUILD_BYTES = 2 << 30
"""The memory of a step of the build."""
LIMITS = {"mem_limit": "512m", "nano_cpus": 1_000_000_000, "pids_limit": 128, "network_mode": "none"}
SAFE = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "tmpfs": {"/tmp": "size=16m"}}
ASK = (
    "import sys, urllib.request as u; o = u.build_opener(u.ProxyHandler({}));"
    "r = o.open(u.Request('http://127.0.0.1:%d' + sys.argv[1], sys.argv[2].encode() or None,"
    " {'Content-Type': 'application/json'}), timeout=5); print(r.read(200000).decode())"
)


def _build(client, folder: Path, tag: str, labels: dict[str, str]) -> None:
    """Builds the image in the time that it is given, once more where somebody else removed an image just then. Raises Failed."""
    until = time.monotonic() + BUILD_SECONDS
    for last in (False, True):
        wrong = ""
        for step in client.api.build(path=str(folder), tag=tag, labels=labels, rm=True, forcerm=True, decode=True,
                                     timeout=BUILD_SECONDS, container_limits={"memory": BUILD_BYTES}):  # fmt: skip
            wrong = " ".join(str(step.get("error", "")).split())
            if time.monotonic() > until:
                raise Failed(f"the image was not built within {BUILD_SECONDS} s")
        if not wrong:
            return
        if last or "unable to find image" not in wrong:
            raise Failed(f"the image was not built: {wrong[-300:]}")


class Image:
    """The built image, and what the criteria share."""

    def __init__(self, client, folder: Path, tag: str, labels: dict[str, str]) -> None:
        import tomllib

        from course_lib.capstone import cases, projects

        self.client, self.labels = client, labels
        told = projects.settings(folder)
        self.model, self.case = told.model, cases.CASES[told.case]()
        server = tomllib.loads((folder / "server.toml").read_text(encoding="utf-8"))
        self.port = int(server.get("port", 8501))
        _build(client, folder, tag, labels)
        self.image = client.images.get(tag)

    @contextlib.contextmanager
    def container(self) -> Iterator[object]:
        """The image, running with few rights, within limits and without a network."""
        with docker.running(self.client, self.image.id, labels=self.labels, **LIMITS, **SAFE) as container:
            yield container

    def ask(self, container, path: str, body: str = "") -> str | None:
        """An answer of the service, asked from inside its container; None where there is none."""
        code, said = container.exec_run(["python", "-c", ASK % self.port, path, body])
        return said.decode("utf-8", "replace") if code == 0 else None

    def until_ready(self, container) -> float:
        """Seconds until the service says that it is ready. Raises Failed."""
        began = time.monotonic()
        while time.monotonic() < began + 60:
            container.reload()
            if container.status != "running":
                break
            if self.ask(container, "/v2/health/ready") is not None:
                return time.monotonic() - began
            time.sleep(0.1)
        last = (container.logs(tail=5).decode("utf-8", "replace").strip().splitlines() or ["nothing"])[-1]
        raise Failed(
            "with a read-only file system, no capabilities, 1 CPU, 512 MiB and no network it was not ready within 60 s; "
            f"its log ends: {last[:200]}"
        )


def size(image: Image) -> str:
    """The image is no more than 200 MB above its base."""
    base = image.client.images.get(BASE_IMAGE).attrs["Size"]
    over = image.image.attrs["Size"] - base
    said = f"{over / 1e6:.0f} MB above the {base / 1e6:.0f} MB of {BASE_IMAGE}"
    if over > MOST_OVER_BASE:
        raise Failed(f"{said}; {MOST_OVER_BASE / 1e6:.0f} MB are allowed")
    return said


def non_root(image: Image) -> str:
    """The image names a user by number, and its process is not root."""
    user = str(image.image.attrs["Config"].get("User") or "")
    if not user.split(":")[0].isdecimal() or user.split(":")[0] == "0":
        raise Failed(f"the image's user is {user or 'root, since none is named'}; expected a number above 0")
    with image.container() as container:
        image.until_ready(container)
        code, said = container.exec_run(
            ["python", "-c", "import re; print(re.findall(r'Uid:\\s+(\\d+)', open('/proc/1/status').read())[0])"]
        )
        if code or said.decode().strip() == "0":
            raise Failed(f"its first process runs as {said.decode().strip()[:40]}")
    return f"user {user}; it runs with a read-only file system and without capabilities"


def start(image: Image) -> str:
    """Within its limits and without a network it is ready soon, and answers a row."""
    with image.container() as container:
        seconds = image.until_ready(container)
        body = json.dumps({"instances": image.case.rows[:1].tolist()})
        told = image.ask(container, f"/v1/models/{image.model}:predict", body)
        if not told or "predictions" not in told:
            raise Failed(f"ready, but a row got no answer: {str(told)[:100]}")
    if seconds > START_SECONDS:
        raise Failed(f"ready after {seconds:.1f} s with 1 CPU; allowed are {START_SECONDS}")
    return f"ready after {seconds:.1f} s with 1 CPU and 512 MiB, without a network; a row was answered"


def stop(image: Image) -> str:
    """SIGTERM reaches the server, which ends with 0 before it would be killed."""
    with image.container() as container:
        image.until_ready(container)
        began = time.monotonic()
        container.stop(timeout=20)
        seconds = time.monotonic() - began
        container.reload()
        code = container.attrs["State"]["ExitCode"]
    if code:
        why = "killed after 20 s: SIGTERM did not reach the server" if code == 137 else "expected 0"
        raise Failed(f"`docker stop` ended it with {code} ({why})")
    return f"`docker stop` ended it with 0 after {seconds:.1f} s"


def look(folder: Path, wanted: list[Criterion], engine: bool) -> Iterator[Line]:
    """A line for each criterion. engine: False where nobody wants to look at one."""
    found = probe("docker") if engine else None
    if not found or not found.there:
        why = found.reason if found else "`--no-engine` left the containers out"
        yield from (Line(each, None, f"not examined here: {why}") for each in wanted)
        return
    tag, labels = names.own("capstone-exam", "27"), {"course-lesson": names.own("capstone", "27")}
    client = docker.docker_client()
    try:
        with copied(folder) as place:
            try:
                for path in [place, *place.rglob("*")]:
                    path.chmod(0o755 if path.is_dir() else 0o644)
                image, wrong = Image(client, place / "project", tag, labels), ""
            except Failed as failed:
                image, wrong = None, str(failed)
            except Exception as error:  # the engine's own kinds, and what a strange Dockerfile makes of it
                image, wrong = None, f"the image was not built: {' '.join(str(error).split())[-300:]}"
            for each in wanted:
                try:
                    if not image:
                        raise Failed(wrong)
                    yield Line(each, True, each.look(image))
                except Failed as failed:
                    yield Line(each, False, str(failed))
                except Exception as error:
                    yield Line(each, False, f"{type(error).__name__}: {error}"[:300])
    finally:
        docker.clear(client, labels, tag)
        client.close()
