"""The Docker engine, through the `docker` package."""

import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib import places
from course_lib.ops.http import answers
from course_lib.ops.kubernetes import remove_namespace
from course_lib.ops.reach import docker_client, probe

__all__ = [
    "address", "build_files", "build_gateway", "build_image", "build_proxy", "build_service", "clear", "docker_client",
    "lacks", "remove_image", "running", "saved_layers", "typed", "wait_until_printed", "wait_until_ready",
]  # fmt: skip

GATEWAY = ("__init__", "access", "answers", "breaker", "connection", "gateway", "process", "upstream")
"""The files of course_lib/services that the gateway is."""


def build_service(client, folder: Path, models: Path, tag: str):
    """Builds docker/service.Dockerfile with `models` in place of the course's; returns the image.

    client: `docker_client()`. folder: where the build's context is laid out. models: NAME/VERSION/model.onnx.
    Raises RuntimeError, with the end of the build's log, where the build fails; FileNotFoundError for no model.
    """
    return _build(client, context(folder, models), "docker/service.Dockerfile", tag)


def build_gateway(client, folder: Path, tag: str):
    """Builds docker/gateway.Dockerfile, whose context is laid out in `folder`; returns the image. Raises RuntimeError."""
    parts = {"serving": ("__init__", "keys", "telemetry", "tracing"), "services": GATEWAY}
    sources = [f"course_lib/{part}/{name}.py" for part, names in parts.items() for name in names]
    return _build(client, _laid_out(folder, sources), "docker/gateway.Dockerfile", tag)


def build_proxy(client, folder: Path, tag: str):
    """Builds docker/proxy.Dockerfile, whose context is laid out in `folder`; returns the image. It fetches nginx from Debian's
    mirrors, half a minute or more the first time. Raises RuntimeError."""
    return _build(client, _laid_out(folder, []), "docker/proxy.Dockerfile", tag)


def build_image(client, **settings):
    """`client.images.build(**settings)`, and once more where somebody else removed an image just then.

    The engine looks for steps that it has done before among all images, and gives up where one of them goes meanwhile.
    """
    import docker

    try:
        return client.images.build(**settings)
    except docker.errors.BuildError as failed:
        if "unable to find image" not in str(failed):
            raise
    if "fileobj" in settings:
        settings["fileobj"].seek(0)
    return client.images.build(**settings)


def build_files(client, folder: Path, files: dict[str, str], **settings):
    """`docker build` of a folder that holds these files and nothing else; returns the image, and the build's log as one text.

    folder: emptied first. files: texts by their names, "Dockerfile" among them. settings: as `client.images.build` takes
    them (tag, labels, buildargs, …). Raises docker.errors.DockerException where the build fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the image takes over these rights
    image, log = build_image(client, path=str(folder), rm=True, forcerm=True, **settings)
    return image, "".join(line.get("stream", "") for line in log)


def _build(client, folder: Path, recipe: str, tag: str):
    import docker

    try:
        return build_image(client, path=str(folder), dockerfile=recipe, tag=tag, rm=True, forcerm=True)[0]
    except docker.errors.BuildError as failed:
        log = "".join(line.get("stream") or line.get("error", "") for line in failed.build_log)
        raise RuntimeError(f"building {tag} failed; its log ends:\n{log[-2000:]}") from None


def context(folder: Path, models: Path) -> Path:
    """Lays out what docker/service.Dockerfile copies: the server's code and `models`, nothing else of the checkout.

    folder: made, or emptied first. models: a folder NAME/VERSION/model.onnx. Returns `folder`, which everybody may read.
    Raises FileNotFoundError where `models` holds no model.
    """
    if not list(models.glob("*/*/model.onnx")):
        raise FileNotFoundError(
            f"expected NAME/VERSION/model.onnx under {models}, found none: save the model there first"
        )
    return _laid_out(folder, ["course_lib/pipeline.py", "course_lib/serving"], models)


def _laid_out(folder: Path, parts: list[str], models: Path | None = None) -> Path:
    """Empties `folder` and copies docker/, course_lib/__init__.py and these files and folders of the checkout there."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("docker", "course_lib/__init__.py", *parts):
        source, target = places.CHECKOUT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    if models:
        shutil.copytree(models, folder / "models")
    # The image takes over these rights, and its user is another one: after a umask of 077 it could read nothing.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def remove_image(client, tag: str, seconds: float = 60) -> list[str]:
    """Removes an image by its name, once no container runs it any more; returns the ids that still bear the name, [].

    By name, so that the same layers under other names stay. None of that name is no error. A cluster that shares the engine
    may take some of the `seconds` to end its containers.
    """
    import docker

    until = time.monotonic() + seconds
    while client.images.list(tag) and time.monotonic() < until:
        try:
            client.images.remove(tag, force=True)  # containers that have ended may still name it
        except docker.errors.APIError:  # one still runs
            time.sleep(0.5)
    return [image.id for image in client.images.list(tag)]


def clear(client, labels: dict[str, str], *tags: str, namespace: str = "", seconds: float = 60) -> list[str]:
    """Removes what a lesson made, and only that; returns what is left of it, []. A lesson's first live cell calls it, for
    what a run that broke off has left, and its last one.

    labels: what containers, networks, volumes and images of the lesson bear, {"course-lesson": own("17")}. tags: further
    images, by name.
    namespace: of Kubernetes; it goes first, where a cluster is within reach, since its pods use the images. That there is
    nothing is no error. What is in use may take some of the `seconds` to go. Raises ValueError for no label, which every
    container would match; NotOurs for a namespace that somebody else made.
    """
    import docker

    if not labels:
        raise ValueError("expected the labels of what the lesson made, got none: every container has those")
    held = remove_namespace(namespace) if namespace and probe("kubernetes").there else []
    until = time.monotonic() + seconds
    filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
    while True:
        networks = client.networks.list(filters=filters)
        others = [*client.containers.list(all=True, filters=filters), *client.images.list(filters=filters),
                  *client.volumes.list(filters=filters)]  # fmt: skip
        left = [*others, *networks]
        if not left or time.monotonic() > until:
            break
        for each in left:
            with contextlib.suppress(docker.errors.APIError):  # it goes already, or is in use for a moment
                each.remove(**({} if each in networks else {"force": True}))
        time.sleep(0.1)
    named = [id for tag in tags for id in remove_image(client, tag, max(0.0, until - time.monotonic()))]
    return [*held, *(each.id for each in left), *named]


def address(container: object, port: int = 8501) -> str:
    """The URL at which this machine reaches a container's published port. Raises RuntimeError where it published none."""
    container.reload()
    published = container.ports.get(f"{port}/tcp")
    if not published:
        raise RuntimeError(f"expected port {port} to be published; container {container.name} is {container.status}:\n"
                           f"{container.logs().decode()[-500:]}")  # fmt: skip
    return f"http://127.0.0.1:{published[0]['HostPort']}"


def lacks(plugin: str) -> bool:
    """Whether the command `docker` is missing here, or this plugin of it: "buildx" or "compose"."""
    return (
        not shutil.which("docker") or subprocess.run(["docker", plugin, "version"], capture_output=True).returncode != 0
    )


def typed(*words: object) -> str:
    """What `docker WORDS` prints, as typed, with BuildKit as the builder. Raises RuntimeError with its complaint."""
    command, environment = ["docker", *map(str, words)], {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} … failed; it says:\n{done.stderr[-2000:]}")
    return done.stdout


def saved_layers(image) -> list[bytes]:
    """What `docker save` writes of an image's layers: each one's tar archive, unpacked if it was packed, lowest first."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(image.save()))) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        layers = [archive.extractfile(name).read() for name in manifest["Layers"]]
    return [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in layers]


@contextlib.contextmanager
def running(client, image, *command: str, labels: dict[str, str], **settings) -> Iterator[object]:
    """`docker run --detach`: a container, removed in the end whatever happens. settings: as `client.containers.run` takes."""
    container = client.containers.run(image, list(command) or None, detach=True, labels=labels, **settings)
    try:
        yield container
    finally:
        container.remove(force=True)


def wait_until_printed(container: object, word: str, seconds: float = 30) -> None:
    """Waits until `word` is in what `container` has printed. Raises TimeoutError, with the end of its log."""
    until = time.monotonic() + seconds
    while word not in container.logs().decode():
        if time.monotonic() > until:
            raise TimeoutError(
                f"{word!r} was not printed within {seconds} s; the log ends:\n{container.logs().decode()[-500:]}"
            )
        time.sleep(0.02)


def wait_until_ready(container: object, seconds: float = 30) -> str:
    """Waits until the service in `container` says that it is ready; returns its URL.

    Raises TimeoutError, with the end of the container's log, where it is not ready within `seconds`.
    """
    until = time.monotonic() + seconds
    url = address(container)
    while time.monotonic() < until:
        if answers(url + "/v2/health/ready"):
            return url
        time.sleep(0.02)
    raise TimeoutError(
        f"the service was not ready within {seconds} s; its log ends:\n{container.logs().decode()[-500:]}"
    )
