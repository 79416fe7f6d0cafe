"""Containers on a network of their own, and docker/proxy.Dockerfile's nginx among them: its keys, and their renewal."""

import io
import tarfile

from course_lib.ops.docker import address
from course_lib.ops.monitoring import until
from course_lib.ops.tls import Identity, pem

KEYS = "/etc/nginx/keys"
"""Where docker/nginx.conf looks for certificates and keys."""

NGINX_USER = 10001
"""The user of docker/proxy.Dockerfile, who alone may read them."""


def files(server: Identity, *clients_of: Identity) -> dict[str, bytes]:
    """What docker/nginx.conf names: the server's certificate and key, and the authorities of its clients."""
    return {"server.pem": pem(server.certificate), "server.key": pem(server.key),
            "clients-ca.pem": pem(*(each.certificate for each in clients_of))}  # fmt: skip


def start(client, image: str, alias: str, port: int, *, name: str, network: str, labels: dict[str, str],
          command: str | None = None, keys: dict[str, bytes] | None = None) -> None:  # fmt: skip
    """Starts a container that answers to `alias` on a network, and on a free port of this machine, read-only.

    client: `docker_client()`. port: the container's. name: of the container, and of the volume for its keys. keys:
    {file: text} for KEYS, where given. labels: `docker.clear` finds container and volume by them.
    """
    ends = {network: client.api.create_endpoint_config(aliases=[alias])}
    mounted = {client.volumes.create(name, labels=labels).name: {"bind": KEYS}} if keys else {}
    container = client.containers.create(
        image, command, name=name, network=network, networking_config=ends, labels=labels, volumes=mounted,
        ports={f"{port}/tcp": ("127.0.0.1", None)}, read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"],
    )  # fmt: skip
    if keys:
        give(container, keys)
    container.start()


def port(container: object, inside: int = 8443) -> int:
    """The port of this machine at which a container's own is reached. Raises RuntimeError where it published none."""
    return int(address(container, inside).rpartition(":")[2])


def give(container: object, keys: dict[str, bytes]) -> None:
    """Puts files into KEYS, readable by nginx's user alone. nginx sees them at its next start or `reload`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in keys.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(text), 0o400, NGINX_USER, NGINX_USER
            archive.addfile(entry, io.BytesIO(text))
    container.put_archive(KEYS, packed.getvalue())


def renew(container: object, keys: dict[str, bytes]) -> None:
    """Gives nginx other files and has it read them (HUP); returns once no worker with the old ones is left.

    Raises TimeoutError where the old ones stay: nginx keeps them where a file is wrong, and says so in its log.
    """

    def workers() -> set[tuple[str, ...]]:
        return {tuple(row[:3]) for row in container.top()["Processes"] if "worker" in row[-1]}

    give(container, keys)
    before = workers()
    container.kill(signal="HUP")
    until(lambda: (now := workers()) and not now & before, 30)
