"""The Dockerfiles of service and gateway, read: what a builder and a cluster will ask of them. Lessons build them for real."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import requires
from threading import Thread

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course_lib
from course_lib.ops.reach import BASE_IMAGE
from course_lib.places import CHECKOUT
from tests.deploy import tree
from tools import hashes

IMAGES = {
    "service": ["cryptography", "httptools", "numpy", "onnxruntime", "opentelemetry-sdk", "orjson", "prometheus-client",
                "uvloop"],
    "gateway": ["aiohttp", "cryptography", "httptools", "numpy", "opentelemetry-sdk", "orjson", "prometheus-client",
                "pyjwt", "redis", "starlette", "uvicorn", "uvloop", "yarl"],
}  # fmt: skip
"""What each image's code imports, and what uvicorn takes where it is there."""

each_image = pytest.mark.parametrize("image", IMAGES)


def recipe(image: str) -> list[tuple[str, str]]:
    """(word, rest) of each instruction."""
    return tree.instructions((CHECKOUT / f"docker/{image}.Dockerfile").read_text(encoding="utf-8"))


def pins(name: str) -> dict[str, str]:
    lines = (CHECKOUT / name).read_text().splitlines()
    pairs = [re.split(" *[;\\\\]", line)[0].split("==") for line in lines if re.match(r"[\w.-]+==", line)]
    return {canonicalize_name(package): version for package, version in pairs}


@each_image
def test_the_base_is_pinned_and_the_same_in_all_stages(image):
    found = recipe(image)
    assert ("ARG", f"BASE_IMAGE={BASE_IMAGE}") == found[0]
    assert BASE_IMAGE.startswith(f"python:{hashes.PYTHON}-"), "the hashes are those of another Python's wheels"
    stages = [rest for word, rest in found if word == "FROM"]
    assert stages == ["${BASE_IMAGE} AS packages", "${BASE_IMAGE} AS course", "${BASE_IMAGE}"]


@each_image
def test_any_builder_understands_it(image):
    text = (CHECKOUT / f"docker/{image}.Dockerfile").read_text()
    for unknown in ("--mount", "# syntax", "--link", "--chmod", "<<", "ADD "):
        assert unknown not in text


@each_image
def test_it_runs_as_a_numbered_user_in_exec_form(image):
    stage, module = (
        tree.last_stage(recipe(image)),
        {"service": "course_lib.serving", "gateway": "course_lib.services.gateway"},
    )
    assert stage["USER"] == "10001:10001" and stage["EXPOSE"] == {"service": "8501", "gateway": "8080"}[image]
    command = json.loads(stage["CMD"])
    assert command[:3] == ["python", "-m", module[image]] and command[-1] == stage["EXPOSE"]
    check = json.loads(stage["HEALTHCHECK"].split("CMD", 1)[1])
    assert check[0] == "python" and f"{stage['EXPOSE']}/v2/health/ready" in check[-1]
    compile(check[-1], "HEALTHCHECK", "exec")


@each_image
def test_nothing_runs_as_the_user_before_everything_is_copied(image):
    words = [word for word, _ in recipe(image)]
    words = words[len(words) - words[::-1].index("FROM") :]
    assert "RUN" not in words and max(i for i, word in enumerate(words) if word == "COPY") < words.index("USER")


@each_image
def test_the_label_tells_the_version_of_the_course(image):
    assert f'version="{course_lib.__version__}"' in tree.last_stage(recipe(image))["LABEL"]


@each_image
def test_the_container_holds_exactly_what_its_code_needs_at_the_courses_versions(image):
    held, course = pins(f"docker/{image}-requirements.txt"), pins("constraints.txt")
    assert held == {name: course[name] for name in held}
    needed, todo = set(), [*IMAGES[image]]
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in needed:
            needed.add(name)
            wanted = [Requirement(text) for text in requires(name) or []]
            environment = {"extra": "", "python_version": hashes.PYTHON, "python_full_version": f"{hashes.PYTHON}.0",
                           "sys_platform": "linux", "platform_system": "Linux"}  # fmt: skip
            todo += [found.name for found in wanted if not found.marker or found.marker.evaluate(environment)]
    assert set(held) == needed


def copied() -> list[str]:
    """What is copied from the checkout, rather than from another stage."""
    copies = [rest.split() for image in IMAGES for word, rest in recipe(image) if word == "COPY"]
    return [source for sources in copies for source in sources[:-1] if not sources[0].startswith("--from=")]


@pytest.mark.parametrize("source", sorted(set(copied())))
def test_what_is_copied_reaches_the_engine(source):
    kept = [line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert any(f"{source}/".startswith(f"{each}/") for each in kept)
    assert source.split("/")[0] in ("docker", "course_lib", "models")


def test_hashes_are_renewed_with_the_versions_of_the_constraints(monkeypatch):
    found = {"x86_64": {"b==2": "f" * 64, "a==1": "e" * 64}, "aarch64": {"b==2": "0" * 64, "a==1": "e" * 64}}
    monkeypatch.setattr(hashes, "wheels", lambda pins, processor: found[processor])
    old = "# why\nb==1 \\\n    --hash=sha256:1234\na==1\n"
    assert hashes.renewed(old, "a==1 ; sys_platform == 'linux'\nb==2\nc==3\n").splitlines() == [
        "# why", "b==2 \\", f"    --hash=sha256:{'0' * 64} \\", f"    --hash=sha256:{'f' * 64}",
        "a==1 \\", f"    --hash=sha256:{'e' * 64}",
    ]  # fmt: skip
    with pytest.raises(KeyError, match="b"):
        hashes.renewed(old, "a==1\n")


def test_the_server_imports_only_what_the_container_holds():
    held = held_in("docker/service-requirements.txt")
    for path in (CHECKOUT / "course_lib/pipeline.py", *(CHECKOUT / "course_lib/serving").glob("*.py")):
        for module in imported(path.read_text()):
            if module.startswith("course_lib"):
                copied = ("course_lib.__version__.", "course_lib.pipeline.", "course_lib.serving.")
                assert f"{module}.".startswith(copied), path
            else:
                assert module.split(".")[0] in held | sys.stdlib_module_names, path


def test_the_gateway_imports_only_what_its_container_holds():
    held = held_in("docker/gateway-requirements.txt")
    here = {source.removesuffix(".py").replace("/", ".") for source in copied() if "/services/" in source}
    here |= {f"course_lib.serving.{name}" for name in ("keys", "telemetry", "tracing")}
    for module in (
        each for source in copied() if "/services/" in source for each in imported((CHECKOUT / source).read_text())
    ):
        if module.startswith("course_lib"):
            assert any(f"{module}.".startswith(f"{each}.") for each in here), module
        else:
            assert module.split(".")[0] in held | sys.stdlib_module_names, module


def held_in(requirements: str) -> set[str]:
    """The modules of these packages; two are imported by another name than they are installed by."""
    other = {"opentelemetry_sdk": "opentelemetry", "pyjwt": "jwt"}
    names = [name.replace("-", "_") for name in pins(requirements)]
    return {other.get(name, name) for name in names}


def imported(source: str) -> list[str]:
    """What a file imports, wherever in it: "json", and for `from course_lib import data` "course_lib.data"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import names its module in no way that this test can follow"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_imports_are_seen_wherever_they_stand():
    source = "def late():\n    import torch\nif 1:\n    from course_lib import data"
    assert sorted(imported(source)) == ["course_lib.data", "torch"]


@pytest.fixture
def well() -> Iterator[int]:
    """The port of a server on this machine that answers everything with 200."""

    class Well(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Well) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("image", [*IMAGES, "workshop"])
def test_the_health_check_asks_directly_where_a_proxy_is_set(image, well):
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")

    def asks(code: str, port: int) -> bool:
        code = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", code)
        return not subprocess.run([sys.executable, "-c", code], env=os.environ | proxy, capture_output=True).returncode

    stage = tree.last_stage(recipe(image))
    own = json.loads(stage["HEALTHCHECK"].partition("CMD")[2])[-1]
    assert asks(own, well)
    assert not asks(own, 9), "nobody is there"
    assert not asks(f"import urllib.request as u; u.urlopen('http://127.0.0.1:{well}/')", well), "the proxy is one"
