"""Images and compose file on a real engine: built from a checkout that only its owner can read, run behind a dead proxy.

Where no registry is within reach, Prometheus and Redis come from Debian's packages: images of them are built here under the
public images' names, and removed at the end. These are other versions (2.53 and 8.0, where the compose file names 3.13 and
8.10); the test then shows that the file works, and not that those public images do. The builder's cache stays.
"""

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from course_lib.ops import docker as engines
from course_lib.ops import public
from course_lib.ops.http import ask
from course_lib.ops.names import own
from course_lib.ops.public import PROMETHEUS
from course_lib.ops.reach import BASE_IMAGE, probe
from course_lib.places import CHECKOUT
from tests.deploy.test_dockerfile import recipe
from tests.deploy.tree import absent

REDIS = "redis:8.10.2-alpine"
REDIS_STAND_IN = f"""\
FROM {BASE_IMAGE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server
"""

NOWHERE = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")}
BLANK = {"instances": [[[[0.0] * 8] * 8]]}

Command = Callable[..., str]


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    """An engine, with the command that speaks to it. Skips where one of the two is missing."""
    if not (found := probe("docker")).there:
        absent(found.reason)
    if not shutil.which("docker"):
        absent("the docker command is not installed")
    client = engines.docker_client()
    yield client
    client.close()


def docker(*words: object, stdin: str | None = None, **variables: str) -> str:
    """What `docker …` prints. Fails with its complaint where it fails."""
    done = subprocess.run(["docker", *map(str, words)], input=stdin, env={**os.environ, **variables},
                          capture_output=True, text=True, timeout=420)  # fmt: skip
    assert done.returncode == 0, f"docker {' '.join(map(str, words))}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what images are made of, as `umask 077` leaves a clone: nobody but its owner may read it."""
    folder = tmp_path_factory.mktemp("private") / "course"
    folder.mkdir()
    shutil.copy(CHECKOUT / ".dockerignore", folder)
    for part in ("docker", "course_lib", "models"):
        shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


@pytest.fixture
def of_others(client) -> Iterator[None]:
    """The images of others that the compose file starts: pulled, or else made of Debian's packages for as long as this."""
    import docker as sdk

    made = []
    for name in (PROMETHEUS, REDIS):
        if client.images.list(name):
            continue
        try:
            client.images.pull(*name.split(":"))
        except sdk.errors.NotFound:
            raise  # the registry answered, and has none of that name
        except sdk.errors.APIError:
            made.append(name)
            if name == REDIS:
                docker("build", "--quiet", "--tag", name, "-", stdin=REDIS_STAND_IN)
            else:
                public.made(client, "prometheus", name)
    yield
    for name in made:
        engines.remove_image(client, name)


@pytest.fixture
def composed(client, private, of_others, tmp_path) -> Iterator[Command]:
    """All services of the compose file, healthy, under names of this test's own; calls `docker compose` on them."""
    project, last = own("digits-test", "compose"), own("test", "compose")
    services, file = {}, tmp_path / "own.yaml"
    for name, each in yaml.safe_load((private / "docker/compose.yaml").read_text())["services"].items():
        services[name] = {"environment": NOWHERE, "healthcheck": {"timeout": "20s"}}  # tests share their machine
        if "build" in each:
            services[name]["image"] = f"digits-{name}:{last}"
    lines = yaml.safe_dump({"services": services})
    for name, port in (("service", 8501), ("gateway", 8080), ("prometheus", 9090)):  # free ones, not the file's
        lines = lines.replace(f"  {name}:\n", f'  {name}:\n    ports: !override ["127.0.0.1::{port}"]\n')
    file.write_text(lines)

    def compose(*words: object) -> str:
        return docker("compose", "-p", project, "-f", private / "docker/compose.yaml", "-f", file, *words)

    try:
        compose("up", "--build", "--wait", "--wait-timeout", 180)
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", 20)
        for name in ("service", "gateway", "prometheus"):
            engines.remove_image(client, f"digits-{name}:{last}")


def test_compose_brings_up_healthy_servers_that_are_measured_and_cached(composed):
    for each in composed("ps", "--format", "json").splitlines():
        state = json.loads(each)
        assert (state["State"], state["Health"]) == ("running", "healthy"), state
    where = {name: f"http://{composed('port', name, port).strip()}"
             for name, port in (("service", 8501), ("gateway", 8080), ("prometheus", 9090))}  # fmt: skip

    # a request, answered by the service and, the same, by the gateway, which keeps it in Redis
    path = "/v1/models/digits_cnn:predict"
    straight, through = ask(where["service"] + path, BLANK), ask(where["gateway"] + path, BLANK)
    assert straight == through and len(through["predictions"][0]) == 10
    assert composed("exec", "redis", "redis-cli", "-e", "ping").strip() == "PONG"
    until = time.monotonic() + 60
    while composed("exec", "redis", "redis-cli", "-e", "dbsize").strip() != "1":  # a slow Redis is not waited for
        assert time.monotonic() < until, "the gateway keeps nothing in Redis"
        assert ask(where["gateway"] + path, BLANK) == straight

    # Prometheus has read both servers' counters
    jobs, until = {}, time.monotonic() + 60
    while jobs != {"digits-service": "1", "digits-gateway": "1"} and time.monotonic() < until:
        time.sleep(0.5)
        told = ask(where["prometheus"] + "/api/v1/query?query=up")
        jobs = {each["metric"]["job"]: each["value"][1] for each in told["data"]["result"]}
    assert jobs == {"digits-service": "1", "digits-gateway": "1"}

    # as whom, and with which log
    for name, user in {"service": "10001", "gateway": "10001", "prometheus": "65534", "redis": "999"}.items():
        assert composed("exec", name, "id", "-u").strip() == user
        found = json.loads(docker("inspect", composed("ps", "-q", name).strip()))[0]["HostConfig"]
        assert found["LogConfig"]["Config"]["mode"] == "non-blocking" and found["ReadonlyRootfs"], name


def test_the_classic_builder_too_makes_an_image_that_its_user_can_read(client, private):
    image = own("digits-service:test-classic", "compose")
    try:
        docker("build", "--file", private / "docker/service.Dockerfile", "--tag", image, private, DOCKER_BUILDKIT="0")
        check = json.loads(dict(recipe("service"))["HEALTHCHECK"].partition("CMD")[2])
        container = client.containers.run(image, detach=True, read_only=True, cap_drop=["ALL"], environment=NOWHERE,
                                          ports={"8501/tcp": ("127.0.0.1", None)})  # fmt: skip
        try:
            engines.wait_until_ready(container, 60)
            assert container.exec_run(["id", "-u"]).output.strip() == b"10001"
            assert container.exec_run(check).exit_code == 0, "asked behind a proxy"
            plain = "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/v2/health/ready', timeout=2)"
            assert container.exec_run(["python", "-c", plain]).exit_code != 0, "the proxy is one"
        finally:
            container.remove(force=True)
    finally:
        engines.remove_image(client, image)


def test_buildkits_mounts_give_a_build_what_the_image_does_not_keep(client, tmp_path):
    image, token = own("digits-test:mounts", "compose"), secrets.token_hex(8)
    (tmp_path / "token").write_text(token)
    (tmp_path / "Dockerfile").write_text(f"""\
FROM {BASE_IMAGE}
ARG RUN
RUN --mount=type=secret,id=token --mount=type=cache,id={image},target=/cache \\
    : $RUN && ls /cache > /found && sha256sum < /run/secrets/token > /read && touch /cache/kept
""")
    try:
        for run, found in ((f"{token[::-1]}1", ""), (f"{token[::-1]}2", "kept\n")):
            docker("build", "--quiet", "--secret", f"id=token,src={tmp_path / 'token'}", "--build-arg", f"RUN={run}",
                   "--tag", image, tmp_path, DOCKER_BUILDKIT="1")  # fmt: skip
            look = "cat /found; wc -c < /read; ls -d /run/secrets/token /cache/kept; true"
            assert client.containers.run(image, ["sh", "-c", look], remove=True).decode() == f"{found}68\n"
        saved = b"".join(client.images.get(image).save())
        assert token.encode() not in saved, "the secret is in a layer or in the settings"
    finally:
        engines.remove_image(client, image)
